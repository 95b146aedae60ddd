"""Encodes texts, and renders chats, with the tokenizer that transformers loads.

The program reads one request per line of standard input, which is a JSON object:

    {"folder": FOLDER, "texts": [TEXT, ...], "chats": [[{"role": ROLE, "content": TEXT}, ...], ...]}

It answers with one line:

    {"tokens": [[id, ...], ...] of the texts, without the tokens that are put around a text,
     "chats": [TEXT, ...], each chat with the beginning of an answer}

If a request fails, the answer is instead:

    {"error": the traceback of the exception}
"""

import transformers
from answer_requests import answer_requests


def handle(request: dict) -> dict:
    tokenizer = transformers.AutoTokenizer.from_pretrained(request["folder"])
    chats = [
        tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        for chat in request["chats"]
    ]
    texts = request["texts"]
    return {"tokens": [tokenizer(text, add_special_tokens=False).input_ids for text in texts], "chats": chats}


if __name__ == "__main__":
    answer_requests(handle)
