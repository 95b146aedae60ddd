/** The name of a model in a GGUF file, by which llama.cpp changes how it reads some tokenizers (`src/llama-vocab.cpp`). */

import { isObject } from "../../tensor/safetensors/header_json.ts";

/** With the name of a Phi-3, llama.cpp removes the spaces after all added tokens but these. It loads no file without them and `</s>`. */
const UNSTRIPPED = ["<unk>", "<s>", "<|endoftext|>"];

/** Returns a name with which llama.cpp reads the tokenizer as it is. @param definition the object in tokenizer.json */
export function modelName(name: string, definition: Readonly<Record<string, unknown>>): string {
  const added = Array.isArray(definition.added_tokens) ? definition.added_tokens.filter(isObject) : [];
  const isPhi3 = [...UNSTRIPPED, "</s>"].every((token) => added.some(({ content }) => content === token)) &&
    added.every(({ content, rstrip }) => rstrip === true !== UNSTRIPPED.includes(String(content)));
  if (isPhi3) return /phi-?3/i.test(name) ? name : `${name} (phi-3)`;
  return name.replace(/(phi)-?(3)|(modern)-(bert)/gi, "$1$3 $2$4");
}
