/** The frame that all pages share: the head of the document, the navigation, and the field for an API key. */

import { escapeHtml } from "./escape_html.ts";
import type { PageFiles } from "./page_files.ts";
import { filePath } from "./page_files.ts";

/** The kind of a server. A host prunes layers on one device. An edge is a public server in front of hosts. */
export type ServerKind = "host" | "edge";

/** The facts about a server that every page shows. */
export interface ServerFacts {
  readonly kind: ServerKind;
  readonly version: string;
  /**
   * Whether requests need an API key. `unset`: the server accepts no key yet, because its operator has set none, and refuses the requests
   * that would need one.
   */
  readonly keys: "needed" | "not needed" | "unset";
}

/** The parts of a page. */
export interface PageParts {
  /** The path of the page, which marks its link in the navigation. */
  readonly path: string;
  readonly title: string;
  /** The content of the element `main`, as HTML. */
  readonly main: string;
  /** The name of the script among the files of the pages. Without it, the page runs no script. */
  readonly script?: string;
}

/** The paths and the names of the pages of each kind of server. */
const LINKS: Readonly<Record<ServerKind, readonly (readonly [path: string, name: string])[]>> = {
  host: [["/", "Overview"], ["/playground", "Playground"], ["/docs", "Contract"]],
  edge: [["/", "Overview"], ["/playground", "Playground"], ["/jobs", "Jobs"], ["/docs", "Contract"]],
};

/** Four columns of two kept and two pruned weights, the pattern 2:4. It takes the colour of the text. */
const MARK =
  `<svg class="mark" viewBox="0 0 22 22" aria-hidden="true"><path d="M0 0h4v4H0zM12 0h4v4h-4zM6 6h4v4H6zM18 6h4v4h-4zM0 12h4v4H0zM6 12h4v4H6zM12 18h4v4h-4zM18 18h4v4h-4z"/>` +
  `<path opacity=".22" d="M6 0h4v4H6zM18 0h4v4h-4zM0 6h4v4H0zM12 6h4v4h-4zM12 12h4v4h-4zM18 12h4v4h-4zM0 18h4v4H0zM6 18h4v4H6z"/></svg>`;

/** Renders a page as HTML. @param files the style and the scripts of the pages. Without them the page has neither */
export function renderPage(facts: ServerFacts, parts: PageParts, files?: PageFiles): string {
  const { kind, version } = facts, { path, title, main, script } = parts;
  const links = LINKS[kind].map(([target, name]) =>
    `<a href="${target}"${target === path ? ' aria-current="page"' : ""}>${name}</a>`
  );
  const head = files === undefined
    ? ""
    : `<link rel="icon" type="image/svg+xml" href="${filePath(files, "icon.svg")}">
<link rel="stylesheet" href="${filePath(files, "style.css")}">
${script === undefined ? "" : `<script type="module" src="${filePath(files, script)}"></script>`}`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${escapeHtml(title)}</title>
${head}
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
<header class="top">
<a class="brand" href="/">${MARK}<span>Pare</span></a><span class="tag">${kind}</span>
<nav aria-label="Pages">${links.join("")}</nav>
</header>
<main id="main" tabindex="-1">
${main}
</main>
<footer class="bottom">Pare ${
    escapeHtml(version)
  } · <a href="/openapi.json">openapi.json</a> · Everything on this page comes from this server.</footer>
</body>
</html>
`;
}

/** Renders the field for an API key. It is open if the server needs a key. */
export function renderKeyField({ keys }: ServerFacts): string {
  return `<details class="key"${keys === "not needed" ? "" : " open"}>
<summary>API key <span id="key-state" class="muted">${
    keys === "unset" ? "the server has none yet" : keys
  }</span></summary>
<form id="key-form" class="row" autocomplete="off">
<label class="grow">Key <input id="key" type="password" autocomplete="off" spellcheck="false" aria-describedby="key-note"></label>
<button type="submit">Use this key</button>
<button type="button" id="key-forget" class="quiet">Forget it</button>
</form>
<p id="key-note" class="note">The key stays in this browser tab (session storage) until you close the tab or forget the key. It is sent to this server only.</p>
</details>
<noscript><p class="problem">This page needs JavaScript. The same requests work with curl, see <a href="/">the overview</a>.</p></noscript>`;
}
