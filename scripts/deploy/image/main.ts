/**
 * `deno task image:replay`: tries `scripts/deploy/Dockerfile` on a machine without a container engine. It replays the instructions
 * in folders, starts the result without a network, prunes a layer there, and writes the figures to
 * scripts/bench/results/image.json. It needs root, Debian, and the packages debootstrap and iproute2.
 */

import { fileURLToPath } from "node:url";
import { Command } from "commander";
import { resultsUrl, writeResults } from "../../bench/report/results_file.ts";
import { parseDockerfile } from "./dockerfile.ts";
import { checkDriverLibraries } from "./driver_libraries.ts";
import { replay, type ReplayedImage } from "./replay.ts";
import { measureSize } from "./size.ts";
import { tryImage } from "./try_image.ts";

const CONTEXT = fileURLToPath(new URL("../../../", import.meta.url));

/** The largest size that the project allows, in bytes. */
const MAX_COMPRESSED_BYTES = 250e6;

interface Options {
  /** The folder for the files of the image. The default is a temporary folder that is removed at the end. */
  readonly keep?: string;
}

async function replayImage({ keep }: Options): Promise<void> {
  if (Deno.uid() !== 0) {
    throw new Error("the replay needs root, because it mounts file systems and changes the root folder");
  }
  const work = keep ?? await Deno.makeTempDir({ prefix: "pare-image-", dir: "/var/tmp" });
  try {
    const started = performance.now();
    const log = (line: string) =>
      console.error(`${Math.round((performance.now() - started) / 1000)} s: ${line}`);
    const stages = parseDockerfile(await Deno.readTextFile(new URL("../Dockerfile", import.meta.url)));
    await Deno.mkdir(work, { recursive: true });
    const image = await replay(stages, { context: CONTEXT, work, log });
    await report(image, work, {
      bases: stages.map(({ base }) => base),
      buildSeconds: (performance.now() - started) / 1000,
      log,
    });
  } finally {
    if (keep === undefined) await Deno.remove(work, { recursive: true });
  }
}

/** Measures the image, starts it, and writes the results. @throws {Error} if the image breaks one of its promises */
async function report(
  image: ReplayedImage,
  work: string,
  { bases, buildSeconds, log }: {
    bases: readonly string[];
    buildSeconds: number;
    log: (line: string) => void;
  },
): Promise<void> {
  log("measuring the size");
  const size = await measureSize(image.root), base = await measureSize(`${work}/base-0`);
  log("starting the image without a network");
  const start = await tryImage(image);
  log("resolving the libraries of NVIDIA's driver");
  const driver = await checkDriverLibraries(image, `${work}/with-driver`);
  const results = {
    bases,
    standIn: "debootstrap --variant=minbase",
    buildSeconds,
    size,
    base,
    start,
    driver,
  };
  await writeResults(resultsUrl("image", "json"), { backend: "cpu", adapter: start.adapter }, results);
  console.log(JSON.stringify(results, null, 2));
  if (size.compressedBytes > MAX_COMPRESSED_BYTES) {
    throw new Error(
      `the image has ${size.compressedBytes} bytes compressed; at most ${MAX_COMPRESSED_BYTES} are allowed`,
    );
  }
  const lacking = [...driver.missing, ...driver.loaderErrors, ...driver.hasEgl ? [] : ["libEGL.so.1"]];
  if (lacking.length > 0) {
    throw new Error(`the image lacks libraries of NVIDIA's driver: ${lacking.join(", ")}`);
  }
}

if (import.meta.main) {
  await new Command("image:replay")
    .description("replay the Dockerfile of the GPU host without a container engine, and start the result")
    .option("--keep <folder>", "keep the files of the image in this folder")
    .action(replayImage)
    .parseAsync(Deno.args, { from: "user" });
}
