/**
 * Opens pages in Debian's Chromium, driven by playwright-core. If Chromium is missing, `browserSkipReason` returns the reason why the tests
 * are skipped. Every opened page records its requests and its errors, and can be checked for accessibility violations with axe-core.
 */

import assert from "node:assert/strict";
import axe from "axe-core";
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";

const CHROMIUM = "/usr/bin/chromium";

/** The reason why there is no browser on this machine. Undefined if there is one. */
export function browserSkipReason(): string | undefined {
  try {
    return Deno.statSync(CHROMIUM).isFile ? undefined : `${CHROMIUM} is not a file`;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return `${CHROMIUM} does not exist`;
    throw error;
  }
}

/** Records every violation of the page's Content-Security-Policy. */
const RECORD_VIOLATIONS = `globalThis.violations = [];
document.addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) =>
  violations.push(violatedDirective + " " + blockedURI));`;

/** A page, with the records of its requests and errors. */
export interface OpenedPage extends AsyncDisposable {
  readonly page: Page;
  /** The origins of all requests, each once. */
  origins(): string[];
  /** The errors of the scripts, and what the policy has blocked. */
  errors(): Promise<string[]>;
  /** Fails if axe-core finds an accessibility violation in the current state of the page, outside the element `except`. */
  assertNoBarriers(except?: string): Promise<void>;
}

/** Starts a browser. @param switches further switches of its command line */
export function startBrowser(...switches: readonly string[]): Promise<Browser> {
  return chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", ...switches] });
}

/** Opens the page at `url` in a session of its own. */
export async function openPage(
  browser: Browser,
  url: string,
  options: BrowserContextOptions = {},
): Promise<OpenedPage> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const origins = new Set<string>(), errors: string[] = [];
  context.on("request", (request) => origins.add(new URL(request.url()).origin));
  context.on("weberror", (error) => errors.push(error.error().message));
  await context.addInitScript(RECORD_VIOLATIONS);
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  await page.goto(url);
  return {
    page,
    origins: () => [...origins],
    errors: async () => [...errors, ...await page.evaluate<string[]>("violations")],
    assertNoBarriers: async (except) => {
      await page.evaluate(axe.source);
      const violations = await page.evaluate<{ id: string; nodes: { html: string }[] }[]>(
        `axe.run(${JSON.stringify({ exclude: except ?? [] })}).then(({ violations }) => violations)`,
      );
      const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`);
      assert.deepEqual(found, []);
    },
    [Symbol.asyncDispose]: () => context.close(),
  };
}

/**
 * Waits until an expression is true in the page. playwright's own `waitForFunction` evaluates text within the page, which the policy of the
 * page forbids. @throws {Error} with the expression after `milliseconds`
 */
export async function waitFor(page: Page, expression: string, milliseconds = 30_000): Promise<void> {
  for (const end = Date.now() + milliseconds; Date.now() < end;) {
    if (await page.evaluate<boolean>(expression)) return;
    await page.waitForTimeout(50);
  }
  throw new Error(`after ${milliseconds / 1000} s this was not true in the page: ${expression}`);
}

/** The layouts in which pages are checked. */
export const LAYOUTS = [1280, 400].flatMap((width) =>
  (["light", "dark"] as const).map((colorScheme) => ({ viewport: { width, height: 900 }, colorScheme }))
);

/** Returns by how many pixels the page is wider than the window. */
export function overflow(page: Page): Promise<number> {
  return page.evaluate<number>("Math.max(0, document.documentElement.scrollWidth - innerWidth)");
}
