/** Runs the demo and stores its perplexities. */

import { runDemo } from "../demo/main.ts";
import { type DemoResults, perplexityMarkdown } from "../demo/tables.ts";
import type { Bench } from "./bench.ts";

export const bench: Bench<object, DemoResults> = {
  description: "the perplexities of the demo",
  async measure({ backend }, { save }) {
    const { device, results } = await runDemo(backend);
    await save(device, results);
    return results;
  },
  tables: { perplexity: perplexityMarkdown },
};
