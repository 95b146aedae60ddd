/** Formats jobs of an edge as tables and lines for a terminal. */

import type { Job, JobSummary } from "../../protocol/messages.ts";
import type { JobState } from "../../protocol/job_state.ts";
import { numberText, secondsText, shareText } from "../../prune/report/format.ts";
import { textTable } from "../terminal/output.ts";

/** Returns a table with one row per job. Ages are counted up to `now`. */
export function jobSummaryTable(jobs: readonly JobSummary[], now: Date): string {
  const rows = jobs.map(({ id, name, state, created, ended, layers }) => [
    id,
    name ?? "–",
    state,
    layersText(layers),
    ageText(created, now),
    durationText(created, ended, now),
  ]);
  return textTable(["job", "name", "state", "layers", "age", "took"], rows, 4);
}

/** Returns the state of a job and a table with one row per layer. Ages are counted up to `now`. */
export function jobLines({ id, name, state, created, ended, layers }: Job, now: Date): string[] {
  const hasProblems = layers.some(({ error }) => error !== null);
  const rows = layers.map(({ name, state, attempts, host, report, error }) => [
    name,
    state,
    host ?? "–",
    String(attempts),
    report === null ? "–" : shareText(report.zeros / (report.rows * report.cols)),
    report === null ? "–" : numberText(report.relative_error),
    report === null ? "–" : String(report.damping ?? "–"),
    report === null ? "–" : secondsText(report.seconds.total),
    ...hasProblems ? [error === null ? "" : `${error.code}: ${error.detail}`] : [],
  ]);
  const head = ["layer", "state", "host", "attempts", "zeros", "relative error", "damping", "time"];
  const title = `job ${id}${name === null ? "" : ` (${name})`}: ${state}`;
  return [
    `${title}, submitted ${ageText(created, now)} ago, ${ended === null ? "running for" : "took"} ${
      durationText(created, ended, now)
    }`,
    textTable(hasProblems ? [...head, "problem"] : head, rows, 3),
  ];
}

/** Lists the states in which layers are: `3 done, 1 running`. */
function layersText(layers: Readonly<Record<JobState, number>>): string {
  const counts = Object.entries(layers).filter(([, count]) => count > 0);
  return counts.map(([state, count]) => `${count} ${state}`).join(", ");
}

function ageText(created: string, now: Date): string {
  return secondsText(secondsBetween(created, now));
}

function durationText(created: string, ended: string | null, now: Date): string {
  return secondsText(secondsBetween(created, ended === null ? now : new Date(ended)));
}

/** The clocks of the edge and of this machine may differ, so a negative time counts as 0. */
function secondsBetween(from: string, to: Date): number {
  return Math.max(0, (to.getTime() - Date.parse(from)) / 1000);
}
