"""Packed networks in forms that others use, each written by a function `write` of a module of its own.

- `bnnkit.export.cpp`: a folder of C++17 sources without dependencies, whose logits are those of the packed network bit
  for bit;
- `bnnkit.export.memh`: a folder with everything about the arrays for hardware: weight images for `$readmemh`,
  thresholds, golden vectors, and Verilog that plays them;
- `bnnkit.export.onnx`: one ONNX file, to look at the network and to check it with other runtimes.

`bnnkit.export.folder` puts a folder in the place of an earlier export. Modules are imported by name: they need torch,
and onnx a package of that name.
"""
