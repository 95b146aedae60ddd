/** Compares the divergence of the predictions of two models, and the perplexity of the second, with those by transformers. */

import { it } from "@std/testing/bdd";
import type { Comparison } from "../../scripts/bench/measure/compare_predictions.ts";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { openModelFolder } from "../../src/model/model.ts";
import { comparePerplexities } from "../../src/model/evaluation/perplexity.ts";
import { assertClose } from "../support/assert_close.ts";
import { eachBackend } from "../support/backends.ts";
import { memoize } from "../support/memoize.ts";
import { OPT_SOTU, sotuTokens } from "../support/opt_sotu.ts";
import { describePeers } from "./describe_peers.ts";

const SEQLEN = 64, WINDOWS = 6;
const tokens = await sotuTokens("evaluation");

await describePeers("predictions of two models, compared with transformers", (peers) => {
  const compare = memoize((model: string) => {
    const speeches = Array.from(
      { length: WINDOWS },
      (_, w) => [...tokens.subarray(w * SEQLEN, (w + 1) * SEQLEN)],
    );
    return peers().ask<Comparison>("bench/divergence", { folder: OPT_SOTU, model, windows: { speeches } });
  });

  eachBackend("on opt-sotu", (backend) => {
    for (const name of ["llama-sotu", "bloom-sotu"]) {
      it(`have the same divergence from those of ${name}`, async () => {
        const folder = OPT_SOTU.replace("opt-sotu", name), options = { seqlen: SEQLEN, windows: WINDOWS };
        await using dense = await openModelFolder(OPT_SOTU, denoFileSystem);
        await using other = await openModelFolder(folder, denoFileSystem);
        const inputs = [dense.model, other.model].map((model) => ({ model, tokens }));
        const [, { perplexity, divergence }] = await comparePerplexities(inputs, backend(), options);
        const { perplexities, divergences } = await compare(folder);
        assertClose([divergence!], [divergences.speeches!], 1e-5);
        assertClose([perplexity], [perplexities.speeches!], 1e-5);
      });
    }
  });
});
