"""The fused scoring kernel: one launch from a backbone's last tensor to verdicts.

fused_score (``FusedScorer``) packs weights (packing), plans the launch (plan, params), gives device_verdicts.
driver/ is CUDA through cuda-python and arrays of other libraries; build/ has the compilers and which build a
device gets, build_cubins makes them ahead; selftest/ judges and times the kernel on one. src/ is the CUDA
source, simt/ runs it on a CPU; packed_file writes weights for the C++ launcher (include/, examples/).
"""
