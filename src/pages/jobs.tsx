/** @jsxRuntime automatic */
/** @jsxImportSource hono/jsx */
/** The page `/jobs` of an edge: hosts, jobs, and the layers or blocks of one job as they are solved. */

import { JOB_STATES } from "../protocol/job_state.ts";
import { pruneCommand } from "./commands.ts";
import { KeyField, renderPage, Section, type ServerFacts, Snippet } from "./layout.tsx";
import type { PageFiles } from "./page_files.ts";

/** The page `/jobs` of a host, which has no jobs. */
export function noJobsHtml(facts: ServerFacts, files?: PageFiles): string {
  const main = (
    <>
      <h1>Jobs</h1>
      <p>
        This server is a host, and jobs are at an edge, which is a server in front of many hosts. Go to{" "}
        <a href="/">the overview</a> of this host.
      </p>
    </>
  );
  return renderPage(facts, { path: "/jobs", title: "Pare jobs", main }, files);
}

export function jobsHtml(facts: ServerFacts, files: PageFiles): string {
  const main = (
    <>
      <h1>Jobs</h1>
      <p class="lead">
        A job is a list of layers that this edge solves at its hosts, or a model whose blocks a host prunes
        one after the other. If a host is lost, the others continue.
      </p>
      <KeyField facts={facts} />
      <Section id="hosts-title" title="Hosts">
        <div id="hosts-problem" role="alert" />
        <Table name="hosts" columns={["Device", "Host", "Load", "Last heartbeat"]} />
        <p id="hosts-empty" class="note" hidden>
          No host has sent a heartbeat within the last half minute.{" "}
          <code>pare serve --edge {facts.origin}</code> starts one.
        </p>
      </Section>
      <section aria-labelledby="jobs-title">
        <div class="row">
          <h2 id="jobs-title">Jobs, newest first</h2>
          <label>
            State{" "}
            <select id="state">
              <option value="">all</option>
              {JOB_STATES.map((state) => <option>{state}</option>)}
            </select>
          </label>
        </div>
        <div id="jobs-problem" role="alert" />
        <Table name="jobs" columns={["Job", "State", "Layers", "Age", "Action"]} />
        <p id="jobs-none" class="note" hidden>No job is in this state.</p>
        <div id="jobs-empty" hidden>
          <p>There are no jobs yet. This command prunes a whole model by jobs of this edge:</p>
          <Snippet label="A command that starts jobs" text={pruneCommand(facts)} />
        </div>
        <button type="button" id="more" class="quiet" hidden>Older jobs</button>
      </section>
      <section id="job" aria-labelledby="job-title" tabindex={-1} hidden>
        <div class="row">
          <h2 id="job-title">Job</h2>
          <span id="job-link" class="note" role="status" />
        </div>
        <div class="row">
          <span id="job-state" />
          <progress id="job-progress" max="1" value="0" aria-label="Layers or blocks that have ended" />
          <span id="job-count" />
          <button type="button" id="cancel" class="quiet">Cancel the job</button>
          <button type="button" id="again" hidden />
        </div>
        <div id="job-problem" role="alert" />
        <Table
          name="layers"
          columns={["Layer or block", "State", "Zeros", "Relative error", "Damping", "Seconds", "Host"]}
          numbers={["Zeros", "Relative error", "Damping", "Seconds", "Host"]}
        />
      </section>
    </>
  );
  return renderPage(
    facts,
    { path: "/jobs", title: "Pare jobs", main, scripts: ["copy.js", "jobs.js"] },
    files,
  );
}

/** An empty table, which the script fills. @param numbers the columns whose cells are numbers */
function Table({ name, columns, numbers = [] }: { name: string; columns: string[]; numbers?: string[] }) {
  return (
    <div class="scroll" tabindex={0} role="region" aria-label={`Table of ${name}`}>
      <table id={name}>
        <thead>
          <tr>
            {columns.map((column) => (
              <th scope="col" class={numbers.includes(column) ? "number" : undefined}>{column}</th>
            ))}
          </tr>
        </thead>
        <tbody />
      </table>
    </div>
  );
}
