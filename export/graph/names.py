"""Names that the exporter gives inside its graphs; ``edgeosr.bundle.tensors`` has those that leave it."""

JACOBIAN_SQUARED = "jacobian_squared"  # float32 [B]
TANGENTS_BY_IMAGE = "tangents_by_image"  # float32 [B, K, D]
AT_CUT = "at_cut"  # what the tensor holds that probes start from
# Constants; fitting replaces those of the fusion.
FUSION_GAIN = "fusion_gain"  # float32 [parts, 1]
FUSION_BIAS = "fusion_bias"  # float32 [1]
CLOSED_FORM_TABLE = "closed_form_table"
# The names of all nodes that make tangents begin so.
TANGENT_NODES = "tangents"
