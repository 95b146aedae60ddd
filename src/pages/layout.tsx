/** @jsxRuntime automatic */
/** @jsxImportSource hono/jsx */
/** The frame of all pages: the head of the document, the navigation, the field for an API key, and commands to copy. */

import type { Child, PropsWithChildren } from "hono/jsx";
import { filePath, type PageFiles } from "./page_files.ts";

/** The kind of a server. A host prunes layers on one device. An edge is a public server in front of hosts. */
export type ServerKind = "host" | "edge";

/** The facts about a server that every page shows. */
export interface ServerFacts {
  readonly kind: ServerKind;
  readonly version: string;
  /** The origin of the server, as its client sees it. */
  readonly origin: string;
  /**
   * Whether requests need an API key. `unset`: the server accepts no key yet, because its operator has set none, and
   * refuses the requests that would need one.
   */
  readonly keys: "needed" | "not needed" | "unset";
  /** Whether the server prunes whole models, so that the navigation has the page `/runs`. @default false */
  readonly hasRuns?: boolean;
}

export interface PageParts {
  /** The path of the page, which marks its link in the navigation. */
  readonly path: string;
  readonly title: string;
  /** The content of the page. */
  readonly main: Child;
  /** Whether the content has its own elements `header` and `main`. */
  readonly hasMain?: boolean;
  /** The name of the style among the files of the pages. @default "style.css" */
  readonly style?: string;
  /** The names of the scripts among the files of the pages. A name that begins with a slash is a path. */
  readonly scripts?: readonly string[];
}

/** The paths and the names of the pages of each kind of server. */
const LINKS: Readonly<Record<ServerKind, readonly (readonly [path: string, name: string])[]>> = {
  host: [["/", "Overview"], ["/runs", "Runs"], ["/playground", "Playground"], ["/docs", "Contract"]],
  edge: [["/", "Overview"], ["/playground", "Playground"], ["/jobs", "Jobs"], ["/docs", "Contract"]],
};

/** Renders a page as HTML. @param files the styles and the scripts of the pages. Without them the page has neither */
export function renderPage(facts: ServerFacts, parts: PageParts, files?: PageFiles): string {
  const { path, title, main, hasMain, style = "style.css", scripts = [] } = parts;
  // A document has one element `main` and one `header` at the top, and Scalar makes both.
  const Content = hasMain ? "div" : "main";
  const Header = hasMain ? "div" : "header";
  const page = (
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        <title>{title}</title>
        {files && <link rel="icon" type="image/svg+xml" href={filePath(files, "icon.svg")} />}
        {files && <link rel="stylesheet" href={filePath(files, style)} />}
        {files && scripts.map((name) =>
          name.startsWith("/")
            ? <script defer src={name} />
            : <script type="module" src={filePath(files, name)} />
        )}
      </head>
      <body>
        <a class="skip" href="#main">Skip to the content</a>
        <Header class="top row" role={hasMain && "region"} aria-label={hasMain && "Pare"}>
          <a class="row" href="/">
            <Mark />
            <strong>Pare</strong>
          </a>
          <small>{facts.kind}</small>
          <nav aria-label="Pages">
            {LINKS[facts.kind].filter(([target]) => target !== "/runs" || facts.hasRuns).map((
              [target, name],
            ) => <a href={target} aria-current={target === path ? "page" : undefined}>{name}</a>)}
          </nav>
        </Header>
        <Content id="main" tabindex={-1}>{main}</Content>
        <footer>
          Pare {facts.version} · <a href="/openapi.json">openapi.json</a>{" "}
          · Everything on this page comes from this server.
        </footer>
      </body>
    </html>
  );
  return `<!doctype html>\n${page}\n`;
}

/** Four columns of two kept and two pruned weights, the pattern 2:4. */
function Mark() {
  return (
    <svg viewBox="0 0 22 22" width="20" fill="var(--accent)" aria-hidden="true">
      <path d="M0 0h4v4H0zM12 0h4v4h-4zM6 6h4v4H6zM18 6h4v4h-4zM0 12h4v4H0zM6 12h4v4H6zM12 18h4v4h-4zM18 18h4v4h-4z" />
      <path
        opacity=".22"
        d="M6 0h4v4H6zM18 0h4v4h-4zM0 6h4v4H0zM12 6h4v4h-4zM12 12h4v4h-4zM18 12h4v4h-4zM0 18h4v4H0zM6 18h4v4H6z"
      />
    </svg>
  );
}

/** The field for an API key, for a page whose requests need one, and the note that the page needs scripts. */
export function KeyField({ facts: { keys } }: { facts: ServerFacts }) {
  return (
    <>
      {keys !== "not needed" && (
        <details open>
          <summary>
            API key{" "}
            <span id="key-state" class="note">{keys === "unset" ? "the server has none yet" : keys}</span>
          </summary>
          <form id="key-form" class="row" autocomplete="off">
            <label>
              Key{" "}
              <input
                id="key"
                type="password"
                autocomplete="off"
                spellcheck={false}
                aria-describedby="key-note"
              />
            </label>
            <button type="submit">Use this key</button>
            <button type="button" id="key-forget" class="quiet">Forget it</button>
          </form>
          <p id="key-note" class="note">
            The key stays in this browser tab (session storage) until you close the tab or forget the key. It
            is sent to this server only.
          </p>
        </details>
      )}
      <noscript>
        <p class="problem">
          This page needs JavaScript. The same requests work with curl, see <a href="/">the overview</a>.
        </p>
      </noscript>
    </>
  );
}

/** A command or a program, with a button that `copy.js` shows. @param label names the text for screen readers */
export function Snippet({ label, text }: { label: string; text: string }) {
  return (
    <div class="snippet row">
      <pre tabindex={0} role="region" aria-label={label}>{text}</pre>
      <button type="button" class="quiet" hidden aria-label={`Copy: ${label}`}>Copy</button>
      <span class="note" role="status" />
    </div>
  );
}

export function Section({ id, title, children }: PropsWithChildren<{ id: string; title: Child }>) {
  return (
    <section aria-labelledby={id}>
      <h2 id={id}>{title}</h2>
      {children}
    </section>
  );
}
