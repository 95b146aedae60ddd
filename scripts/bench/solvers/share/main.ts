/**
 * This bench measures which share of the time of a whole run the solvers take. It prunes a model with the
 * sizes of opt-125m and random weights, and measures the seconds of the calibration statistics, the Cholesky
 * factors and the solves. It writes results/solvers_share.json and prints the table.
 *
 *     deno run -A scripts/run_with_v8_flags.ts run -A scripts/bench/solvers/share/main.ts
 */

import { Command } from "commander";
import { fileURLToPath } from "node:url";
import { calibrationWindows } from "../../../../src/calibration/windows.ts";
import { denoFileSystem } from "../../../../src/cli/files/deno_file_system.ts";
import { type LocalHost, openLocalHost } from "../../../../src/cli/local_host.ts";
import { addBackendOption, integer } from "../../../../src/cli/options/common_options.ts";
import type { BackendChoice } from "../../../../src/host/backends.ts";
import { openModelFolder } from "../../../../src/models/model.ts";
import { encodeText, loadTokenizer } from "../../../../src/models/tokenizer/tokenizer.ts";
import { makeRandomOpt } from "../../../fixtures/make_random_opt.ts";
import { sotuText } from "../../../fixtures/sotu_text.ts";
import { parseSizes, type Size } from "../../measure/layer_sizes.ts";
import { readResultsIfPresent, resultsUrl, writeResults } from "../../report/results_file.ts";
import { benchShare, type ShareResult } from "./bench_share.ts";
import { type ShareResults, shareTable } from "./table.ts";

interface Options {
  readonly sizes: readonly Size[];
  readonly measuredBlocks: number;
  readonly measuredWindows: number;
  readonly backend: BackendChoice;
}

const FILE = resultsUrl("solvers_share", "json");
const TOKENIZER = fileURLToPath(new URL("../../../../tests/fixtures/models/opt-sotu", import.meta.url));
/** The number of transformer blocks of opt-125m. */
const BLOCKS = 12;

const command = new Command("bench solvers share")
  .description("Times statistics and solvers on a whole model, and writes results/solvers_share.json.")
  .option(
    "--sizes <list>",
    "comma-separated calibration sizes, as WINDOWSxTOKENS",
    parseSizes,
    parseSizes("16x512,128x2048"),
  )
  .option(
    "--measured-blocks <n>",
    "transformer blocks to measure; the others are extrapolated",
    integer(2),
    BLOCKS,
  )
  .option(
    "--measured-windows <n>",
    "calibration windows to measure; the others are extrapolated",
    integer(1),
    128,
  );
const options = addBackendOption(command).parse(Deno.args, { from: "user" }).opts<Options>();

const folder = await Deno.makeTempDir({ prefix: "pare-bench-" });
try {
  await makeRandomOpt(folder);
  const tokenizer = await loadTokenizer(TOKENIZER, denoFileSystem);
  const tokens = encodeText(tokenizer, await sotuText("calibration"), "txt");
  const earlier = await readResultsIfPresent<ShareResults>(FILE);
  let sizes: readonly ShareResult[] = earlier?.sizes ?? [];
  for (const [windows, seqlen] of options.sizes) {
    const isOther = (size: ShareResult) => size.windows !== windows || size.seqlen !== seqlen;
    await using host = await openLocalHost(options.backend);
    sizes = [...sizes.filter(isOther), await measureSize(host, windows, seqlen, tokens)];
    const device = { backend: host.backend.kind, adapter: host.backend.adapter.name };
    await writeResults<ShareResults>(FILE, device, { sizes });
  }
  console.log(`\n${shareTable({ sizes })}`);
} finally {
  await Deno.remove(folder, { recursive: true });
}

async function measureSize(
  host: LocalHost,
  windows: number,
  seqlen: number,
  tokens: Uint32Array,
): Promise<ShareResult> {
  // The windows start at random tokens and may overlap. Without overlaps, the text is too short for 128x2048.
  const chosen = calibrationWindows(tokens, { windows, seqlen, seed: 1 });
  await using opened = await openModelFolder(folder, denoFileSystem);
  const measured = chosen.slice(0, options.measuredWindows), { measuredBlocks } = options;
  return await benchShare(host, opened.model, measured, { blocks: BLOCKS, windows }, {
    measuredBlocks,
    log: console.log,
  });
}
