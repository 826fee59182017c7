"""From a trained classifier to a calibrated bundle.

The files of this folder are the story of an export, which ``export.py`` tells in order. What one step of it
takes to know has a wing:

    graph/         any ONNX graph: read, check, write into, name, assemble
    closed_form/   the Jacobian norm at the last convolution, recognised and computed exactly
    tangents/      the Jacobian norm of any network at any cut, by forward-mode differentiation along probes
    front_end/     from uint8 frames of any size to the network's input
    precision/     the same graph in fp32, fp16 or int8 for engines, and the gate that its decisions pass

The top may import the wings; of the wings only precision/ knows the top, whose scored graphs it types.
"""
