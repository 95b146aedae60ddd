/**
 * Runs GGUF files with llama.cpp. Node runs this program with the folder of the package `node-llama-cpp` as its argument.
 * It reads one request per line of standard input, which is a JSON object:
 *
 *     {"file": FILE, "windows": [[id, ...], ...], "texts": [TEXT, ...], "chats": [[{"role": ROLE, "content": TEXT}, ...], ...]}
 *
 * All members but "file" are optional. The program answers with one line:
 *
 *     {"logits": (windows, tokens, vocabulary), "tokens": [[id, ...], ...] of the texts,
 *      "chats": [TEXT, ...], each chat with the beginning of an answer, by the template in the file}
 *
 * If a request fails, the answer is {"error": the stack of the error}. For logits, keys and values are kept in F32, which is not the
 * default of llama.cpp, so that the logits show the errors of the file.
 */

import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const modules = `${process.argv[2]}/node_modules`;
const { getLlama } = await import(pathToFileURL(`${modules}/node-llama-cpp/dist/index.js`));
const { Template } = await import(pathToFileURL(`${modules}/@huggingface/jinja/dist/index.js`));
const llama = await getLlama({ gpu: false, build: "never", logLevel: "error", maxThreads: 0 });

for await (const line of createInterface({ input: process.stdin })) {
  try {
    console.log(JSON.stringify(await run(JSON.parse(line))));
  } catch (error) {
    console.log(JSON.stringify({ error: error.stack }));
  }
}
await llama.dispose();

async function run({ file, windows = [], texts = [], chats = [] }) {
  const model = await llama.loadModel({ modelPath: file });
  const logits = [];
  for (const window of windows) {
    const context = await model.createContext({
      contextSize: Math.max(window.length + 8, 32),
      flashAttention: false,
      threads: 1, // more threads wait for each other in a loop, which takes seconds on a busy machine
      experimentalKvCacheKeyType: "F32",
      experimentalKvCacheValueType: "F32",
    });
    const results = await context.getSequence().controlledEvaluate(
      window.map((id) => [id, { generateNext: { logits: true } }]),
    );
    logits.push(results.map(({ next }) => sortedById(next.logits)));
    await context.dispose();
  }
  const tokens = texts.map((text) => [...model.tokenize(text, true)]);
  const rendered = chats.map((messages) => renderChat(model.fileInfo.metadata.tokenizer, messages));
  await model.dispose();
  return { logits, tokens, chats: rendered };
}

function sortedById(logits) {
  return [...logits].sort(([a], [b]) => a - b).map(([, value]) => value);
}

function renderChat({ chat_template: template, ggml }, messages) {
  const [bos_token, eos_token] = [ggml.bos_token_id, ggml.eos_token_id].map((id) => ggml.tokens[id]);
  return new Template(template).render({ messages, add_generation_prompt: true, bos_token, eos_token });
}
