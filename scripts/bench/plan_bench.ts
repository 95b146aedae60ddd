/**
 * Compares `pare prune --plan` with the run that follows: the planned and the measured time, memory, disk space and traffic of several
 * models on both backends. Each model is planned and pruned several times, and the medians are reported. The bench starts itself in child processes as `plan_bench.ts prune …`, which run `pare` and print the peaks of the device
 * memory and of the output folder.
 */

import { Command } from "commander";
import { fileURLToPath } from "node:url";
import { integer } from "../../src/cli/options/common_options.ts";
import { createPruneCommand } from "../../src/cli/prune.ts";
import type { RunPlan } from "../../src/cli/prune/plan/plan_run.ts";
import { Device } from "../../src/host/device.ts";
import { bytesText, secondsText } from "../../src/prune/report/format.ts";
import type { RunReport } from "../../src/prune/report/run_report.ts";
import { writeSotuTexts } from "../fixtures/sotu_text.ts";
import { startHost } from "../processes/child_host.ts";
import { memoryBytes } from "../processes/process_tree.ts";
import type { Bench } from "./bench.ts";
import { RANDOM_MODELS, randomTitle } from "./measure/random_models.ts";
import { medians } from "./measure/statistics.ts";
import { formatPercent, markdownTable } from "./report/markdown_table.ts";

const SELF = fileURLToPath(import.meta.url);

/** The number of blocks of a random model. Its blocks have the full size. */
const RANDOM_BLOCKS = 3;

/** The interval at which the memory of a run is read. */
const POLL_MILLISECONDS = 10;

/** The figures that are planned and measured, in seconds and bytes. */
interface Figures {
  readonly seconds: number;
  readonly process: number;
  readonly device: number;
  /** The largest size of the output folder. */
  readonly disk: number;
  readonly sent: number;
}

interface PlanResult {
  readonly model: string;
  readonly method: string;
  readonly backend: string;
  readonly windows: number;
  readonly seqlen: number;
  readonly planned: Figures;
  readonly measured: Figures;
  /** The seconds that the plan took. */
  readonly planSeconds: number;
  /** The time left as it was printed after the first block, and as it was. */
  readonly left: { readonly planned: number; readonly measured: number };
}

interface PlanResults {
  readonly plans: readonly PlanResult[];
}

interface PlanOptions {
  readonly backends: string;
  readonly models: string;
  readonly repeat: number;
}

export const bench: Bench<PlanOptions, PlanResults> = {
  description: "`pare prune --plan` beside the run that follows: time, memory, disk space and traffic",
  options: (command) =>
    command
      .option("--backends <names>", "comma-separated backends", "cpu,webgpu")
      .option("--models <names>", "comma-separated models", "opt-sotu,llama-sotu,opt-125m")
      .option("--repeat <n>", "repetitions of which the medians are reported", integer(1), 3),
  async measure({ backends, models, repeat }, { earlier, save }) {
    const scratch = await Deno.makeTempDir({ prefix: "pare-plan-" });
    let plans = earlier?.plans ?? []; // those of other models and backends stay
    try {
      const { calibration, evaluation } = await writeSotuTexts(scratch);
      for (const name of models.split(",")) {
        const random = RANDOM_MODELS[name];
        const folder = random
          ? `${scratch}/${name}`
          : fileURLToPath(new URL(`../../tests/fixtures/models/${name}`, import.meta.url));
        await random?.write(folder, RANDOM_BLOCKS);
        const title = random ? `${randomTitle(name)}, ${RANDOM_BLOCKS} blocks` : name;
        const windows = random ? 4 : 16;
        const options = [
          ...["--calibration", calibration, "--samples", String(windows), "--seqlen", "256"],
          ...["--text", evaluation, "--windows", String(windows)],
          ...random ? ["--method", "sparsegpt"] : [],
        ];
        const out = `${scratch}/pruned`, sent = await measureSent(folder, options, out);
        for (const backend of backends.split(",")) {
          const results: PlanResult[] = [];
          for (let i = 0; i < repeat; i++) {
            results.push(await measure(title, folder, options, out, backend, sent));
            console.error(planTable({ plans: results.slice(-1) }));
          }
          const typical = medians(results);
          const isOther = (other: PlanResult) =>
            other.model !== typical.model || other.backend !== typical.backend;
          plans = [...plans.filter(isOther), typical];
          await save({ backend: "cpu and webgpu", adapter: typical.backend }, { plans });
        }
      }
    } finally {
      await Deno.remove(scratch, { recursive: true });
    }
    return { plans };
  },
  tables: { plan: planTable },
};

/** Renders one row per model and backend. Each cell has the planned and the measured figure. */
function planTable({ plans }: PlanResults): string {
  const pair = (heading: string, of: (figures: Figures) => number, format: (value: number) => string) =>
    [
      heading,
      ({ planned, measured }: PlanResult) => `${format(of(planned))} / ${format(of(measured))}`,
    ] as const;
  return markdownTable<PlanResult>([
    ["planned / measured", ({ model }) => model],
    ["method", ({ method }) => method],
    ["backend", ({ backend }) => backend],
    ["windows", ({ windows, seqlen }) => `${windows} × ${seqlen}`],
    ["time of the plan", ({ planSeconds }) => secondsText(planSeconds)],
    pair("time", ({ seconds }) => seconds, wholeSeconds),
    [
      "left after the first block",
      ({ left }) => `${wholeSeconds(left.planned)} / ${wholeSeconds(left.measured)}`,
    ],
    pair("process", (figures) => figures.process, bytesText),
    pair("device", (figures) => figures.device, bytesText),
    pair("disk", (figures) => figures.disk, bytesText),
    pair("sent", (figures) => figures.sent, bytesText),
    ["largest error", (result) => formatPercent(largestError(result))],
  ], plans);
}

function wholeSeconds(seconds: number): string {
  return `${seconds.toFixed(0)} s`;
}

/** The largest relative error of a figure. The time counts from the end of the first block. */
function largestError({ planned, measured, left }: PlanResult): number {
  const errors = (["process", "device", "disk", "sent"] as const).map((key) =>
    planned[key] / measured[key] - 1
  );
  return Math.max(...[...errors, left.planned / left.measured - 1].map(Math.abs));
}

interface Child {
  readonly stdout: string;
  /** The lines of standard error with the time at which they were read, in seconds. */
  readonly lines: readonly { readonly text: string; readonly at: number }[];
  readonly started: number;
  readonly ended: number;
  readonly peakBytes: number;
}

/** Runs `pare prune ARGS` in a process, and watches its memory. */
async function runChild(args: readonly string[]): Promise<Child> {
  const seconds = () => performance.now() / 1000, started = seconds();
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", "--no-check", SELF, ...args],
    env: { PARE_PROGRESS_SECONDS: "0" }, // the time left after the first block is printed
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let peakBytes = 0;
  const timer = setInterval(
    () => peakBytes = Math.max(peakBytes, memoryBytes(child.pid, "VmHWM") || 0),
    POLL_MILLISECONDS,
  );
  const lines: { text: string; at: number }[] = [];
  const readErrors = async () => {
    let text = "";
    for await (const chunk of child.stderr.pipeThrough(new TextDecoderStream())) {
      const parts = (text + chunk).split("\n");
      text = parts.pop()!;
      for (const part of parts) lines.push({ text: part, at: seconds() });
    }
  };
  try {
    const [stdout, status] = await Promise.all([
      new Response(child.stdout).text(),
      child.status,
      readErrors(),
    ]);
    if (!status.success) {
      throw new Error(`pare ${args.join(" ")}: ${lines.map(({ text }) => text).join("\n")}`);
    }
    return { stdout, lines, started, ended: seconds(), peakBytes };
  } finally {
    clearInterval(timer);
  }
}

/** Returns the bytes of all files below a folder, which may change meanwhile. */
function folderBytes(folder: string): number {
  let bytes = 0;
  try {
    for (const { name, isDirectory } of Deno.readDirSync(folder)) {
      const path = `${folder}/${name}`;
      bytes += isDirectory ? folderBytes(path) : Deno.statSync(path).size;
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return bytes;
}

async function measure(
  title: string,
  folder: string,
  options: readonly string[],
  out: string,
  backend: string,
  sent: { planned: number; measured: number },
): Promise<PlanResult> {
  const args = ["prune", folder, "--out", out, ...options, "--backend", backend, "--overwrite", "--json"];
  const plan: RunPlan = JSON.parse((await runChild([...args, "--plan"])).stdout);
  const run = await runChild(args);
  const report: RunReport = JSON.parse(await Deno.readTextFile(`${out}/pare.json`));
  await Deno.remove(out, { recursive: true });
  const printed = (name: string) =>
    Number(run.lines.findLast(({ text }) => text.startsWith(`${name} `))!.text.slice(name.length));
  const block = plan.layers / plan.blocks;
  const line = run.lines.find(({ text }) => text.startsWith(`pruning ${block}/`))!;
  return {
    model: title,
    method: report.layers[0].method,
    backend: `${backend} (${report.adapter})`,
    windows: plan.samples,
    seqlen: plan.seqlen,
    planSeconds: plan.measured.seconds,
    planned: {
      seconds: plan.seconds.total,
      ...plan.memory,
      disk: plan.disk.output + plan.disk.unfinished,
      sent: sent.planned,
    },
    measured: {
      seconds: report.seconds.total,
      process: run.peakBytes,
      device: printed("device"),
      disk: printed("disk"),
      sent: sent.measured,
    },
    left: { planned: secondsOf(line.text), measured: run.ended - line.at },
  };
}

function secondsOf(line: string): number {
  const [, amount, unit] = /\(about ([\d.]+) (s|min) left\)/.exec(line)!;
  return Number(amount) * (unit === "min" ? 60 : 1);
}

/** Plans and measures the bytes that a host receives. The method does not change them, so a fast one is used. */
async function measureSent(
  folder: string,
  options: readonly string[],
  out: string,
): Promise<{ planned: number; measured: number }> {
  await using host = await startHost(["--backend", "cpu"]);
  const received = async () => {
    const text = await (await fetch(`${host.url}/metrics`)).text();
    return Number(/pare_bytes_total\{direction="in"\} (\d+)/.exec(text)?.[1] ?? 0);
  };
  const args = ["prune", folder, "--out", out, ...options, "--backend", "cpu", "--json", "--overwrite"];
  args.push("--method", "wanda", "--server", host.url);
  const plan: RunPlan = JSON.parse((await runChild([...args, "--plan"])).stdout);
  const before = await received();
  await runChild(args);
  await Deno.remove(out, { recursive: true });
  return { planned: plan.sent, measured: await received() - before };
}

/** Runs `pare prune` in this process and prints the peaks of the device memory and of the output folder. */
async function runPare(args: readonly string[]): Promise<void> {
  const { close } = Device.prototype, { rename } = Deno, out = args[args.indexOf("--out") + 1];
  let diskBytes = 0;
  // A file of hidden states is complete when it gets its name, and the one before it is then removed.
  Deno.rename = (from, to) => {
    diskBytes = Math.max(diskBytes, folderBytes(out));
    return rename(from, to);
  };
  Device.prototype.close = function () {
    const peak = this.current()?.backend.counters.bytesPeak;
    if (peak !== undefined) console.error(`device ${peak}\ndisk ${diskBytes}`);
    return close.call(this);
  };
  await new Command("pare").addCommand(createPruneCommand(new AbortController().signal)).parseAsync(args, {
    from: "user",
  });
}

if (import.meta.main) await runPare(Deno.args);
