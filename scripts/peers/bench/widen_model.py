"""Widens a small LLaMA model, and trains it further.

The K types of GGUF need rows of whole super-blocks of 256 weights, which the trained models of this repository do not
have. The wider model starts from the weights of a narrow one, because a model of this size needs half an hour of training
from random weights. The program reads one request per line of standard input, which is a JSON object:

    {"folder": FOLDER of the narrow model, "text": FILE to train on, "hidden": SIZE, "heads": COUNT, "steps": COUNT,
     "out": FOLDER}

The size of a head and the number of heads with keys and values stay as they are. Each step trains on 16 windows of 256
tokens. The checkpoint in `out` is stored in bfloat16, with the tokenizer. The program answers each request with one line:

    {"parameters": NUMBER, "losses": [the mean loss of each 100 steps, in nats per token]}

If the request fails, the answer is instead {"error": the traceback of the exception}.
"""

import math
import pathlib

import torch
import transformers
from answer_requests import answer_requests

WINDOWS, WINDOW_TOKENS, PEAK_RATE, WARM_UP_STEPS = 16, 256, 1e-3, 50


def answer(request: dict) -> dict:
    torch.manual_seed(0)
    torch.set_num_threads(2)
    narrow = transformers.AutoModelForCausalLM.from_pretrained(request["folder"], dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(request["folder"])
    model = widen(narrow, request["hidden"], request["heads"])
    tokens = torch.tensor(tokenizer(pathlib.Path(request["text"]).read_text())["input_ids"])
    losses = train(model, tokens, request["steps"])
    model.to(torch.bfloat16).save_pretrained(request["out"])
    tokenizer.save_pretrained(request["out"])
    means = [sum(part) / len(part) for part in (losses[i : i + 100] for i in range(0, len(losses), 100))]
    return {"parameters": model.num_parameters(), "losses": means}


def widen(narrow, hidden: int, heads: int):
    """Copies the weights into the corners of larger ones. The new weights are random."""
    sizes = {"hidden_size": hidden, "num_attention_heads": heads}
    model = type(narrow)(transformers.LlamaConfig.from_dict(narrow.config.to_dict() | sizes))
    config, new = narrow.config, model.state_dict()
    groups, head = config.num_key_value_heads, config.head_dim
    old_rows, new_rows = (count // groups * head for count in (config.num_attention_heads, heads))
    for name, values in narrow.state_dict().items():
        if name.endswith("norm.weight"):  # the mean of the squares is over more channels
            new[name][: len(values)] = values * math.sqrt(config.hidden_size / hidden)
        elif ".q_proj." in name or ".o_proj." in name:  # the new heads are the last of each group
            source, target = (weight.T if ".o_proj." in name else weight for weight in (values, new[name]))
            for group in range(groups):
                rows = source[group * old_rows : (group + 1) * old_rows]
                target[group * new_rows :][:old_rows, : rows.shape[1]] = rows
        else:
            new[name][: values.shape[0], : values.shape[1]] = values
    model.load_state_dict(new)
    return model


def train(model, tokens: torch.Tensor, steps: int) -> list[float]:
    """Trains by AdamW, with a learning rate that falls from its peak along a cosine. Returns the loss of each step."""
    decayed = [weight for name, weight in model.named_parameters() if "_proj" in name]
    others = [weight for name, weight in model.named_parameters() if "_proj" not in name]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95))
    losses = []
    for step in range(steps):
        rate = min(1, (step + 1) / WARM_UP_STEPS) * (0.51 + 0.49 * math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = PEAK_RATE * rate
        starts = torch.randint(len(tokens) - WINDOW_TOKENS, (WINDOWS,))
        windows = torch.stack([tokens[start : start + WINDOW_TOKENS] for start in starts])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(input_ids=windows, labels=windows).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return losses


if __name__ == "__main__":
    answer_requests(answer)
