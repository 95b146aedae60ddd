"""Reading the checkpoints that Pare writes: dense and quantised.

`load` opens a checkpoint as a mapping that decodes a tensor when the tensor is requested, `load_state_dict`
decodes all tensors, and `from_pretrained` makes a transformers model of them. The modules of this folder, in
the order in which a tensor passes through them:

- `header` checks the header of a safetensors file, and `shard` reads one such file, which must be a regular
  file.
- `folder` finds the weight files of a checkpoint and reads config.json.
- `layout` reads from config.json how the weights are stored.
- `quantized` finds the tensors of quantised weights and decodes them.
- `tensors` and `model` have the public functions.

A checkpoint may come from a stranger, so every file is treated as hostile input: nothing in it is executed,
no file outside the folder is read, and every size is compared with the file before memory is allocated. A
malformed file causes a ValueError that names the file, the tensor, the rule and the value.
"""
