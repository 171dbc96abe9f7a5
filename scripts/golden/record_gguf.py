"""Records how the gguf package packs numbers and lays out a file, for tests/golden/gguf.json. Refuses to write anything else.

    .venv/bin/python scripts/golden/record_gguf.py
"""

import base64
import json
import tempfile
from pathlib import Path

import gguf
import numpy as np

ROOT = Path(__file__).resolve().parents[2]


def text(array):
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def any_blocks(random, kind):
    _, size = gguf.GGML_QUANT_SIZES[kind]
    data = random.integers(0, 256, (3, size), dtype=np.uint8)
    scales = random.uniform(-2, 2, (3, 2)).astype(np.float16)
    if kind == gguf.GGMLQuantizationType.Q6_K:
        data[:, -2:] = scales[:, :1].view(np.uint8)
    else:
        data[:, :4] = scales.view(np.uint8)
    return data


def main():
    random = np.random.default_rng(7)
    values = (random.standard_normal((8, 64)) * np.array([1, 1e-3, 1e3, 1e-6, 0, 1e-9, 5e4, 0.1])[:, None]).astype(np.float32)
    values[7, :6] = [0.5, -0.5, 63.5, -63.5, 127, -127]
    packed = {}
    for name in ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K"]:
        kind = gguf.GGMLQuantizationType[name]
        # The package only unpacks k-quants: any bytes are a block, but for the halves that must be finite.
        data = any_blocks(random, kind) if name.endswith("K") else gguf.quants.quantize(values, kind)
        packed[name] = {"bytes": text(data), "values": text(gguf.quants.dequantize(data, kind).astype(np.float32))}

    path = Path(tempfile.mkdtemp()) / "small.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint32("a.u32", 4_000_000_000)
    writer.add_int32("a.i32", -5)
    writer.add_float32("a.f32", 0.5)
    writer.add_bool("a.bool", True)
    writer.add_string("a.text", "Grüße 😀")
    writer.add_array("a.numbers", [1, -2, 3])
    writer.add_array("a.floats", [0.5, 1.5])
    writer.add_array("a.texts", ["Ġa", "", "b c"])
    writer.add_uint8("a.u8", 200)
    writer.add_int8("a.i8", -100)
    writer.add_uint16("a.u16", 60_000)
    writer.add_int16("a.i16", -30_000)
    writer.add_uint64("a.u64", 2**40)
    writer.add_int64("a.i64", -(2**40))
    writer.add_float64("a.f64", 0.1)
    writer.add_tensor("vector", values[0, :7])
    writer.add_tensor("matrix", values[:, :32].astype(np.float16))
    q8 = gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("packed", q8, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    out = {"values": text(values), "packed": packed, "file": base64.b64encode(path.read_bytes()).decode()}
    (ROOT / "tests" / "golden" / "gguf.json").write_text(json.dumps(out, indent=1) + "\n")


main()
