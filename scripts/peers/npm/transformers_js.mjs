/**
 * Continues tokens with transformers.js. Node runs this program with the folder of its packages as its argument. It reads one request per
 * line of standard input, which is a JSON object:
 *
 *     {"folder": a folder with config.json and model.onnx, "prompt": [id, ...], "count": NUMBER}
 *
 * The program answers with one line, the `count` most likely tokens after the prompt:
 *
 *     {"tokens": [id, ...]}
 *
 * If a request fails, the answer is {"error": the stack of the error}.
 */

import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const library = `${process.argv[2]}/node_modules/@huggingface/transformers/dist/transformers.node.mjs`;
const { AutoModelForCausalLM, env, Tensor } = await import(pathToFileURL(library));
env.allowRemoteModels = false;

for await (const line of createInterface({ input: process.stdin })) {
  try {
    console.log(JSON.stringify({ tokens: await run(JSON.parse(line)) }));
  } catch (error) {
    console.log(JSON.stringify({ error: error.stack }));
  }
}

async function run({ folder, prompt, count }) {
  const model = await AutoModelForCausalLM.from_pretrained(folder, {
    subfolder: "",
    dtype: "fp32",
    device: "cpu",
  });
  const tensor = (numbers) => new Tensor("int64", BigInt64Array.from(numbers, BigInt), [1, numbers.length]);
  const output = await model.generate({
    input_ids: tensor(prompt),
    attention_mask: tensor(prompt.map(() => 1)),
    min_new_tokens: count,
    max_new_tokens: count,
    do_sample: false,
  });
  await model.dispose();
  return [...output.data].slice(prompt.length).map(Number);
}
