/** Tests that lm-evaluation-harness evaluates the folders that `pare prune` writes. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { sotuText } from "../../scripts/fixtures/sotu_text.ts";
import { runPare, succeeded, words } from "../cli/run_pare.ts";
import { OPT_SOTU } from "../support/opt_sotu.ts";
import { describePeers } from "./describe_peers.ts";

await describePeers("a zero-shot task in lm-evaluation-harness", (peers) => {
  it("measures that a pruned checkpoint is worse than the dense one", async () => {
    const { folder, ask } = peers(), text = `${folder}/text.txt`, file = `${folder}/lambada.jsonl`;
    await Deno.writeTextFile(text, await sotuText("calibration"));
    const passages = (await sotuText("evaluation")).match(/[A-Z][^.?!]{80,160}[.?!]/g)!.slice(0, 24);
    await Deno.writeTextFile(file, passages.map((text) => JSON.stringify({ text })).join("\n"));
    const pruned = `${folder}/pruned`;
    await succeeded(runPare(...words`
      prune ${OPT_SOTU} --out ${pruned} --calibration ${text} --samples 4 --seqlen 64 --sparsity 0.7
      --method magnitude --backend cpu
    `));
    const lambada = { scratch: folder, name: "lambada", config: "lambada/lambada_standard.yaml", file };
    const evaluate = (folder: string) =>
      ask<Record<string, number>>("lm_eval_scores", { folder, ...lambada });
    const before = await evaluate(OPT_SOTU), after = await evaluate(pruned);
    assert.ok(
      Number.isFinite(after.perplexity) && after.perplexity > before.perplexity,
      String(after.perplexity),
    );
    assert.ok(after.acc >= 0 && after.acc <= 1, String(after.acc));
  });
});
