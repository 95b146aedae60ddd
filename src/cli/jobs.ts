/**
 * `pare jobs` lists, shows and cancels the jobs of an edge, which is a server that passes layers on to hosts. A job is a list of layers
 * that the edge solves even if its client has ended.
 */

import { Command, InvalidArgumentError, Option } from "commander";
import { Jobs } from "../client/jobs/jobs.ts";
import type { Job, JobSummary } from "../protocol/messages.ts";
import { JOB_STATES, type JobState } from "../protocol/job_state.ts";
import { jobLines, jobSummaryTable } from "./jobs/job_tables.ts";
import { addCommonOptions, type CommonOptions, integer } from "./options/common_options.ts";
import { addExample } from "./options/help.ts";
import { addEdgeOptions, edgeUrl, type ServerFlags } from "./options/server_options.ts";
import { explainNoEdge, firstContact, remoteTransport } from "./remote_client.ts";
import { Output } from "./terminal/output.ts";

/** The options of every subcommand. */
interface JobOptions extends CommonOptions, ServerFlags {}

interface ListOptions extends JobOptions {
  readonly state?: JobState;
  readonly limit: number;
}

const DEFAULT_LIMIT = 20;
/** The largest number of jobs in one answer of the edge. */
const PAGE = 100;

/** Returns the command `pare jobs`. `signal` stops it. */
export function createJobsCommand(signal: AbortSignal): Command {
  return new Command("jobs")
    .description(
      "list, show and cancel the jobs of an edge, which solve layers even if their client has ended",
    )
    .addCommand(listCommand(signal))
    .addCommand(showCommand(signal))
    .addCommand(cancelCommand(signal));
}

function listCommand(signal: AbortSignal): Command {
  const command = new Command("list")
    .description("list the jobs that were submitted with the same API key, the newest first")
    .addOption(new Option("--state <state>", "list only the jobs in this state").choices(JOB_STATES))
    .option("--limit <n>", "list at most n jobs", integer(1), DEFAULT_LIMIT);
  addExample(command, "jobs list --server https://pare.example.com --state running");
  return addCommonOptions(addEdgeOptions(command)).action(async (options: ListOptions) => {
    const { jobs, output } = connect(options);
    const found = await listJobs(jobs, options, signal).catch(explainNoEdge("--server", edgeUrl(options)));
    output.result({ jobs: found }, [
      found.length === 0 ? "there are no such jobs" : jobSummaryTable(found, new Date()),
    ]);
  });
}

function showCommand(signal: AbortSignal): Command {
  const command = new Command("show")
    .description("show a job and the state of each of its layers")
    .argument("<job>", "the id of the job", jobId);
  addExample(command, "jobs show 0123456789abcdef0123456789abcdef --server https://pare.example.com");
  return addCommonOptions(addEdgeOptions(command)).action(async (id: string, options: JobOptions) => {
    const { jobs, output } = connect(options);
    const job = await jobs.get(id, { signal });
    output.result(job, jobLines(job, new Date()));
  });
}

function cancelCommand(signal: AbortSignal): Command {
  const command = new Command("cancel")
    .description("cancel a job; layers that are done keep their results")
    .argument("<job>", "the id of the job", jobId);
  addExample(command, "jobs cancel 0123456789abcdef0123456789abcdef --server https://pare.example.com");
  return addCommonOptions(addEdgeOptions(command)).action(async (id: string, options: JobOptions) => {
    const { jobs, output } = connect(options);
    await jobs.cancel(id, { signal });
    const job = await jobs.get(id, { signal });
    output.result(job, [cancelLine(job)]);
  });
}

/** Checks that `text` is the id of a job, because it becomes a part of a URL. */
function jobId(text: string): string {
  if (/^[0-9a-f]{32}$/.test(text)) return text;
  throw new InvalidArgumentError("It must be the id of a job, which has 32 hexadecimal digits.");
}

function connect(options: JobOptions): { jobs: Jobs; output: Output } {
  const output = new Output(options.json ?? false);
  return { jobs: new Jobs(firstContact(remoteTransport(edgeUrl(options), options.apiKey, output))), output };
}

/** Asks for pages until there are enough jobs or no more. */
async function listJobs(
  jobs: Jobs,
  { state, limit }: ListOptions,
  signal: AbortSignal,
): Promise<JobSummary[]> {
  const found: JobSummary[] = [];
  let cursor: string | undefined;
  do {
    const page = await jobs.list({ state, limit: Math.min(limit - found.length, PAGE), cursor, signal });
    found.push(...page.jobs);
    cursor = page.cursor ?? undefined;
  } while (cursor !== undefined && found.length < limit);
  return found;
}

function cancelLine({ id, state, layers }: Job): string {
  const done = layers.filter((layer) => layer.state === "done").length;
  return state === "cancelled"
    ? `cancelled job ${id}; ${done} of ${layers.length} layers are done`
    : `job ${id} had ended before: ${state}`;
}
