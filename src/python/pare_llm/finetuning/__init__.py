"""Fine-tuning that keeps the zeros of a pruned model.

`keep_zeros` works with any training loop, `KeepZeros` is the same for the Trainer of transformers, and
`mask_lora_` and `merge_keep_zeros` are for LoRA. `GradualSchedule` prunes further during training, and
`verify` checks a model. The modules of this folder:

- `model_weights` lists the weights of a model by their names in the checkpoint, `choose_weights` selects
  from them, and `local_shard` gives the part of a weight that a process stores.
- `packed_mask` is the mask of one weight. `kept_zeros` has the masks of a model and the hooks that apply
  them, and `deepspeed_zero` has the hooks for DeepSpeed.
- `keep_zeros` and `trainer_callback` are the entry points for full fine-tuning.
- `masked_product` and `masked_adapter` compute with a masked LoRA adapter, and `masked_lora` has the entry
points.
- `gradual_schedule` prunes further with `masking_client`, which keeps the zeros that a layer has.
- `verify` checks a model, and `verification` is its result.
"""
