"""Reading the checkpoints that Pare writes: dense and quantised.

A checkpoint may come from a stranger, so every file is treated as hostile input: nothing in it is executed,
no file outside the folder is read, and every size is compared with the file before memory is allocated. A
malformed file causes a ValueError that names the file, the tensor, the rule and the value.
"""
