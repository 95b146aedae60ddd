/** Tests that the line of Python that `pare prune` prints at its end loads the result. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { writeSotuTexts } from "../../scripts/fixtures/sotu_text.ts";
import { VENVS } from "../../scripts/peers/venv.ts";
import { runPare, succeeded } from "../cli/run_pare.ts";
import { OPT_SOTU } from "../support/opt_sotu.ts";
import { describePeers } from "./describe_peers.ts";

const FORMATS = {
  "a dense checkpoint": [],
  "a quantised checkpoint": ["--bits", "4", "--format", "pack-quantized"],
  "a quantised checkpoint with asymmetric grids": [
    ...["--bits", "4", "--group-size", "0", "--format", "pack-quantized"],
  ],
};

/** Runs the loaded model. */
const CHECK = "import torch; assert model(torch.tensor([[5, 4, 3]])).logits.isfinite().all()";

await describePeers("the line of Python at the end of pare prune", (peers) => {
  for (const [name, options] of Object.entries(FORMATS)) {
    it(`loads ${name}`, async () => {
      const { calibration } = await writeSotuTexts(peers().folder), out = `${peers().folder}/${name}`;
      const calibrated = [
        ...["--calibration", calibration, "--samples", "4"],
        ...["--seqlen", "64", "--backend", "cpu"],
      ];
      const { stderr } = await succeeded(
        runPare("prune", OPT_SOTU, "--out", out, ...calibrated, ...options),
      );
      const [, line] = /^load it in Python: (.*)$/m.exec(stderr)!;
      const python = new Deno.Command(VENVS.readers.python, {
        args: ["-c", `${line}\n${CHECK}`],
        env: { HF_HUB_OFFLINE: "1" },
      });
      const loaded = await python.output();
      assert.ok(loaded.success, new TextDecoder().decode(loaded.stderr));
    });
  }
});
