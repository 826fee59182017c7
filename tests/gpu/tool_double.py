"""compute-sanitizer and ncu as doubles: run the command, find nothing, print as the real ones do."""

import os
import subprocess
import sys

tool, words = os.path.basename(sys.argv[0]), sys.argv[1:]
start = words.index(sys.executable)
done = subprocess.run(words[start:])
if tool == "compute-sanitizer":
    print("========= ERROR SUMMARY: 0 errors")
else:
    metrics = words[words.index("--metrics") + 1].split(",")
    print('==PROF== Disconnected from process 1\n"ID","Kernel Name",' + ",".join(f'"{m}"' for m in metrics))
    print('"","",' + ",".join('"unit"' for _ in metrics))
    print('"0","fused_score_map_mma_f16",' + ",".join('"1,234"' for _ in metrics))
sys.exit(done.returncode)
