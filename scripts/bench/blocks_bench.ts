/**
 * Measures what `pare prune --remote` costs the client and the hosts, as processes on this machine, with a model of random
 * weights. The result must have the bytes of a run in one process.
 */

import { denoFileSystem as fs } from "../../src/cli/files/deno_file_system.ts";
import { integer } from "../../src/cli/options/common_options.ts";
import { openCheckpoint } from "../../src/model/checkpoint/checkpoint.ts";
import { countWeightFileBytes } from "../../src/model/checkpoint/weight_files.ts";
import { blockTensors } from "../../src/model/families/check_tensors.ts";
import { openModel } from "../../src/model/model.ts";
import { bytesText, secondsText } from "../../src/prune/report/format.ts";
import { tensorBytes } from "../../src/tensor/dtype.ts";
import { requireSameFiles } from "../prune/same_files.ts";
import { makeRandomLlama } from "../fixtures/make_random_llama.ts";
import { writeSotuTexts } from "../fixtures/sotu_text.ts";
import { startHost } from "../processes/child_host.ts";
import { cpuSeconds, memoryBytes } from "../processes/process_tree.ts";
import type { Bench } from "./bench.ts";
import { pareProcess } from "./llm_compressor/programs.ts";
import { formatPercent, markdownTable } from "./report/markdown_table.ts";

interface BlocksOptions {
  readonly layers: number;
  readonly hidden: number;
  readonly samples: number;
  readonly seqlen: number;
  readonly method: string;
  readonly hosts: number;
}

/** The cost of one process. The processor time of a host begins when the client starts. */
interface Cost {
  readonly name: string;
  readonly cpuSeconds: number;
  readonly peakBytes: number;
}

/** A run with its hosts. */
interface HostsRun {
  readonly seconds: number;
  /** The bytes of all requests and of all answers of the hosts. */
  readonly sentBytes: number;
  readonly receivedBytes: number;
  /** The client and each host. */
  readonly costs: readonly Cost[];
}

/** The run with `hosts` hosts. Its costs also have a run in one process. */
interface BlocksResults extends BlocksOptions, HostsRun {
  /** The bytes of the weight files, and of the largest block. */
  readonly checkpointBytes: number;
  readonly blockBytes: number;
  /** The run with one host, if the other one has several. */
  readonly oneHost?: HostsRun;
}

export const bench: Bench<BlocksOptions, BlocksResults> = {
  description: "time, memory and traffic of a client whose blocks are pruned at hosts",
  options: (command) =>
    command
      .option("--layers <n>", "the number of blocks", integer(1), 6)
      .option("--hidden <n>", "the size of the hidden states, a multiple of 64", integer(64), 1024)
      .option("--samples <n>", "the number of calibration windows", integer(1), 32)
      .option("--seqlen <n>", "the tokens of a window", integer(1), 512)
      .option("--method <method>", "the solver", "sparsegpt")
      .option("--hosts <n>", "the number of hosts. With several, one host also runs alone", integer(1), 1),
  async measure({ layers, hidden, samples, seqlen, method, hosts: count, backend }, { scratch, save }) {
    const folder = `${scratch}/model`, heads = hidden / 64;
    await makeRandomLlama(folder, {
      layers,
      hidden,
      heads,
      intermediate: 4 * hidden,
      vocabulary: 2048,
      positions: seqlen,
    });
    const { calibration } = await writeSotuTexts(scratch);
    const windows = ["--calibration", calibration, "--samples", String(samples), "--seqlen", String(seqlen)];
    // Both runs need the same products for the same bytes, so neither looks for libraries.
    const device = ["--backend", backend, "--products", "own", "--precision", "float32"];
    const run = (out: string, ...options: string[]) =>
      pareProcess([
        "prune",
        folder,
        "--out",
        `${scratch}/${out}`,
        "--method",
        method,
        ...windows,
        ...options,
      ]);
    const runAtHosts = async (count: number) => {
      const name = `hosts-${count}`;
      await using cleanup = new AsyncDisposableStack();
      const hosts = [cleanup.use(await startHost(device))];
      while (hosts.length < count) hosts.push(cleanup.use(await startHost(device)));
      const startSeconds = hosts.map(({ pid }) => cpuSeconds(pid));
      const client = await run(name, ...hosts.flatMap(({ url }) => ["--server", url]), "--remote");
      const metrics = await Promise.all(hosts.map(async ({ url }) => (await fetch(`${url}/metrics`)).text()));
      const bytesOf = (direction: string) => {
        const line = new RegExp(`^pare_bytes_total\\{.*direction="${direction}".*\\} (\\S+)$`, "m");
        return metrics.reduce((sum, text) => sum + Number(line.exec(text)?.[1]), 0);
      };
      const ofHosts = hosts.map(({ pid }, i) => ({
        name: count === 1 ? "host" : `host ${i + 1}`,
        cpuSeconds: cpuSeconds(pid) - startSeconds[i],
        peakBytes: memoryBytes(pid, "VmHWM"),
      }));
      const measured: HostsRun = {
        seconds: client.seconds,
        sentBytes: bytesOf("in"),
        receivedBytes: bytesOf("out"),
        costs: [costOf("client", client), ...ofHosts],
      };
      return { host: hosts[0], out: `${scratch}/${name}`, run: measured };
    };
    const [atHosts, oneHost] = [await runAtHosts(count), count > 1 ? await runAtHosts(1) : undefined];
    const costs = [...atHosts.run.costs, costOf("one process", await run("local", ...device))];
    for (const { out } of [atHosts, ...oneHost ? [oneHost] : []]) {
      await requireSameFiles(out, `${scratch}/local`);
    }
    const results = {
      ...{ layers, hidden, samples, seqlen, method, hosts: count, ...atHosts.run, costs },
      ...await modelSizes(folder),
      oneHost: oneHost?.run,
    };
    await save(atHosts.host, results);
    return results;
  },
  tables: {
    costs: ({ costs, blockBytes }) => {
      const all = costs.filter(({ name }) => name !== "one process").reduce(
        (sum, { cpuSeconds }) => sum + cpuSeconds,
        0,
      );
      return markdownTable<Cost>([
        ["process", ({ name }) => name],
        ["processor time", ({ cpuSeconds }) => secondsText(cpuSeconds)],
        [
          "share of client and hosts",
          ({ name, cpuSeconds }) => name === "one process" ? "" : formatPercent(cpuSeconds / all),
        ],
        ["peak memory", ({ peakBytes }) => bytesText(peakBytes)],
        ["in blocks", ({ peakBytes }) => (peakBytes / blockBytes).toFixed(1)],
      ], costs);
    },
    // Several hosts beside one. Without a run with one host, the table is empty.
    hosts({ oneHost, costs, hosts: count }) {
      const [alone] = hostsIn(oneHost?.costs ?? costs), several = hostsIn(costs);
      const total = several.reduce((sum, { cpuSeconds }) => sum + cpuSeconds, 0);
      const rows = [{ ...alone, name: "one host" }, ...several, {
        name: `${count} hosts together`,
        cpuSeconds: total,
      }];
      return markdownTable<Omit<Cost, "peakBytes"> & Partial<Cost>>([
        ["process", ({ name }) => name],
        ["processor time", ({ cpuSeconds }) => `${cpuSeconds.toFixed(0)} s`],
        ["of one host's", ({ cpuSeconds }) => formatPercent(cpuSeconds / alone.cpuSeconds)],
        ["peak memory", ({ peakBytes }) => peakBytes === undefined ? "" : bytesText(peakBytes)],
      ], oneHost ? rows : []);
    },
    traffic: ({ sentBytes, receivedBytes, checkpointBytes, seconds }) =>
      markdownTable<number[]>([
        ["checkpoint", () => bytesText(checkpointBytes)],
        ["sent", () => bytesText(sentBytes)],
        ["received", () => bytesText(receivedBytes)],
        ["multiple of the checkpoint", () => ((sentBytes + receivedBytes) / checkpointBytes).toFixed(2)],
        ["time", () => secondsText(seconds)],
      ], [[]]),
  },
};

async function modelSizes(folder: string): Promise<Pick<BlocksResults, "checkpointBytes" | "blockBytes">> {
  const checkpoint = await openCheckpoint(folder, fs), { spec, weights } = openModel(checkpoint);
  const sizes = blockTensors(spec, 0).map(([name, shape]) => tensorBytes(weights.info(name).dtype, shape));
  await checkpoint.close();
  return {
    checkpointBytes: countWeightFileBytes(checkpoint.shards),
    blockBytes: sizes.reduce((sum, size) => sum + size),
  };
}

function costOf(name: string, { cpuSeconds, peakBytes }: Omit<Cost, "name">): Cost {
  return { name, cpuSeconds, peakBytes };
}

function hostsIn(costs: readonly Cost[]): Cost[] {
  return costs.filter(({ name }) => name.startsWith("host"));
}
