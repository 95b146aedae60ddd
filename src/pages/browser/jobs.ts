/** The script of the page `/jobs`. It lists hosts and jobs every few seconds, and follows one job by its events. */

import { type JobList, Jobs, type JobState } from "../../client/mod.ts";
import type { EdgeHost } from "../../protocol/messages.ts";
import { connectKeyField, serverOptions } from "./api_key.ts";
import { byId } from "./dom.ts";
import { HostTable } from "./job/host_table.ts";
import { fetchWithKey } from "./job/job_events.ts";
import { jobTable } from "./job/job_table.ts";
import { JobView } from "./job/job_view.ts";
import { showProblem } from "./problem.ts";

const REFRESH_MILLISECONDS = 3000;

const state = byId("state", HTMLSelectElement), more = byId("more", HTMLButtonElement);
const hostsProblem = byId("hosts-problem", HTMLElement), jobsProblem = byId("jobs-problem", HTMLElement);

const hosts = new HostTable(byId("hosts", HTMLTableElement).tBodies[0]);
const table = jobTable(byId("jobs", HTMLTableElement).tBodies[0], (id) => void cancel(id));
const view = new JobView({
  jobs: client,
  onChange: (submitted) => {
    if (submitted !== undefined) location.hash = submitted;
    void refreshJobs();
  },
});

/** The number of pages of jobs that are shown. */
let pages = 1;

function client(): Jobs {
  return new Jobs({ ...serverOptions(), retries: 0 });
}

async function refreshHosts(): Promise<void> {
  try {
    const response = await fetchWithKey("/v1/hosts", {});
    const list: { hosts: EdgeHost[] } = await response.json();
    hosts.show(list.hosts, Date.parse(response.headers.get("Date") ?? "") || Date.now());
    byId("hosts-empty", HTMLElement).hidden = list.hosts.length > 0;
    showProblem(hostsProblem, undefined);
  } catch (error) {
    showProblem(hostsProblem, error);
  }
}

async function refreshJobs(): Promise<void> {
  try {
    const shown: JobList["jobs"] = [], wanted = state.value === "" ? undefined : state.value as JobState;
    let cursor: string | null | undefined;
    for (let page = 0; page < pages && cursor !== null; page++) {
      const list: JobList = await client().list({ state: wanted, cursor });
      shown.push(...list.jobs);
      cursor = list.cursor;
    }
    table.show(shown);
    more.hidden = cursor === null;
    byId("jobs-none", HTMLElement).hidden = shown.length > 0 || wanted === undefined;
    byId("jobs-empty", HTMLElement).hidden = shown.length > 0 || wanted !== undefined;
    showProblem(jobsProblem, undefined);
  } catch (error) {
    showProblem(jobsProblem, error);
  }
}

async function cancel(id: string): Promise<void> {
  try {
    await client().cancel(id);
    await refreshJobs();
  } catch (error) {
    showProblem(jobsProblem, error);
  }
}

/** Refreshes both lists, and again after a pause. A page in the background waits until it is visible. */
async function refresh(): Promise<void> {
  if (!document.hidden) await Promise.all([refreshHosts(), refreshJobs()]);
  setTimeout(() => void refresh(), REFRESH_MILLISECONDS);
}

function followJobOfAddress(): void {
  void view.follow(location.hash.length > 1 ? location.hash.slice(1) : undefined);
}

state.addEventListener("change", () => {
  pages = 1;
  void refreshJobs();
});
more.addEventListener("click", () => {
  pages++;
  void refreshJobs();
});
addEventListener("hashchange", () => {
  followJobOfAddress();
  byId("job", HTMLElement).focus({ preventScroll: true });
  byId("job", HTMLElement).scrollIntoView({ block: "nearest" });
});
connectKeyField(() => {
  void refreshHosts();
  void refreshJobs();
  followJobOfAddress();
});
void refresh();
followJobOfAddress();
