/** The page `/jobs` of an edge, the public server in front of GPU hosts: hosts, jobs, and the layers of one job as they are solved. */

import { renderKeyField, renderPage, type ServerFacts } from "./layout.ts";
import type { PageFiles } from "./page_files.ts";

const MAIN = `<h1>Jobs</h1>
<p class="lead">A job is a list of layers that this edge solves at its hosts. If a host is lost, the others solve its layers.</p>
KEY_FIELD
<section aria-labelledby="hosts-title">
<h2 id="hosts-title">Hosts</h2>
<div id="hosts-problem" role="alert"></div>
<div class="scroll" tabindex="0" role="region" aria-label="Table of hosts">
<table>
<thead><tr><th scope="col">Device</th><th scope="col">Host</th><th scope="col">Load</th><th scope="col">Last heartbeat</th></tr></thead>
<tbody id="hosts"></tbody>
</table>
</div>
<p id="hosts-empty" class="placeholder" hidden>No host has sent a heartbeat within the last half minute.</p>
</section>
<section aria-labelledby="jobs-title">
<div class="heading"><h2 id="jobs-title">Jobs, newest first</h2><label>State <select id="state"><option value="">all</option><option>queued</option><option>running</option><option>done</option><option>failed</option><option>cancelled</option></select></label></div>
<div id="jobs-problem" role="alert"></div>
<div class="scroll" tabindex="0" role="region" aria-label="Table of jobs">
<table>
<thead><tr><th scope="col">Job</th><th scope="col">State</th><th scope="col">Layers</th><th scope="col">Age</th><th scope="col">Action</th></tr></thead>
<tbody id="jobs"></tbody>
</table>
</div>
<p id="jobs-empty" class="placeholder" hidden>There are no such jobs.</p>
<button type="button" id="more" class="quiet" hidden>Older jobs</button>
</section>
<section id="job" aria-labelledby="job-title" tabindex="-1" hidden>
<div class="heading"><h2 id="job-title">Job</h2><span id="job-link" class="note" role="status"></span></div>
<div class="row"><span id="job-state" class="chip"></span><progress id="job-progress" max="1" value="0" aria-label="Layers that have ended"></progress><span id="job-count" class="number"></span><button type="button" id="cancel" class="quiet">Cancel the job</button><button type="button" id="again" hidden></button></div>
<div id="job-problem" role="alert"></div>
<div class="scroll" tabindex="0" role="region" aria-label="Table of layers">
<table>
<thead><tr><th scope="col">Layer</th><th scope="col">State</th><th scope="col" class="number">Zeros</th><th scope="col" class="number">Relative error</th><th scope="col" class="number">Damping</th><th scope="col" class="number">Seconds</th><th scope="col">Host</th></tr></thead>
<tbody id="layers"></tbody>
</table>
</div>
</section>`;

/** Returns the page as HTML. */
export function jobsHtml(facts: ServerFacts, files: PageFiles): string {
  const main = MAIN.replace("KEY_FIELD", () => renderKeyField(facts));
  return renderPage(facts, { path: "/jobs", title: "Pare jobs", main, script: "jobs.js" }, files);
}
