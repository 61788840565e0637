"""A model's text half by itself, for commands that answer at once: neither torch nor transformers.

`runtime.onnx.export` writes it, `runtime.onnx.text_tower` runs it.
"""
