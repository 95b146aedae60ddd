/** Tests the report page in a browser: its layout on phones and wide screens, its colours in dark mode, and its printed form. */

import { after, before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { pathToFileURL } from "node:url";
import type { Browser } from "playwright-core";
import { renderReport } from "../../src/prune/report/render.tsx";
import { browserSkipReason, type OpenedPage, openPage, startBrowser } from "../support/browser.ts";
import { deepRun, sampleRun } from "../prune/report/sample_run.ts";
import { temporaryFolder } from "../support/temporary_folder.ts";

const SIZES = [[320, 640], [360, 800], [1200, 900]] as const;

describe("the report page", { skip: browserSkipReason() ?? false }, () => {
  const folder = temporaryFolder();
  let browser: Browser;
  before(async () => {
    browser = await startBrowser();
  });
  after(() => browser?.close());

  async function open(html: string): Promise<OpenedPage> {
    await Deno.writeTextFile(`${folder}/report.html`, html);
    return await openPage(browser, pathToFileURL(`${folder}/report.html`).href);
  }

  for (const [name, run] of [["four blocks", sampleRun()], ["96 blocks", deepRun(96)]] as const) {
    it(`fits on every screen and draws every chart for a run with ${name}`, async () => {
      await using opened = await open(renderReport(run));
      for (const [width, height] of SIZES) {
        await opened.page.setViewportSize({ width, height });
        const { content, outside, charts } = await opened.page.evaluate<Measured>(MEASURE);
        assert.equal(content, width);
        assert.deepEqual(outside, [], String(width));
        assert.equal(charts.length, name === "96 blocks" ? 3 : 2); // four blocks are equally sparse
        for (const [chartWidth, chartHeight] of charts) {
          assert.ok(chartWidth > 250 && chartHeight > 80, `${width}: ${chartWidth}×${chartHeight}`);
        }
      }
    });
  }

  it("follows the preferred colour scheme, with enough contrast between text and background", async () => {
    await using opened = await open(renderReport(sampleRun()));
    for (const colorScheme of ["light", "dark"] as const) {
      await opened.page.emulateMedia({ colorScheme });
      const [paper, ...inks] = await opened.page.evaluate<number[][]>(COLOURS);
      assert.equal(luminance(paper) < 0.5, colorScheme === "dark");
      for (const ink of inks) assert.ok(contrast(ink, paper) >= 4.5, `${colorScheme}: ${ink} on ${paper}`);
    }
  });

  it("prints the whole table on paper", async () => {
    await using opened = await open(renderReport(deepRun(12)));
    const pdf = await opened.page.pdf({ preferCSSPageSize: true });
    assert.equal(new TextDecoder().decode(pdf.subarray(0, 5)), "%PDF-");
    const pages = new TextDecoder("latin1").decode(pdf).match(/\/Type\s*\/Page\b/g)?.length ?? 0;
    assert.ok(pages >= 2 && pages <= 12, `${pages} pages`);
  });
});

/** The result of {@link MEASURE}. */
interface Measured {
  /** The width of the content, in CSS pixels. */
  readonly content: number;
  /** The start of the HTML of every element that extends past the page. */
  readonly outside: readonly string[];
  /** The width and height of every chart. */
  readonly charts: readonly (readonly [number, number])[];
}

/** A script that measures the page. Elements inside the table are not reported as outside, because the table scrolls. */
const MEASURE = `(() => {
  const width = document.documentElement.clientWidth;
  const isOutside = (element) => {
    const { right, left } = element.getBoundingClientRect();
    return (right > width + 0.5 || left < -0.5) && !element.closest(".scroll > *");
  };
  return {
    content: document.documentElement.scrollWidth,
    outside: [...document.body.querySelectorAll("*")].filter(isOutside).map((element) => element.outerHTML.slice(0, 120)),
    charts: [...document.querySelectorAll("figure svg")].map((svg) => {
      const { width, height } = svg.getBoundingClientRect();
      return [width, height];
    }),
  };
})()`;

/** A script that returns the background colour and then the colours of texts and chart labels, as [red, green, blue]. */
const COLOURS = `(() => {
  const colour = (element, property) => getComputedStyle(element)[property].match(/[\\d.]+/g).slice(0, 3).map(Number);
  const texts = [...document.querySelectorAll("h1, header p, dt, dd, figcaption, pre, summary span, td, th, figure svg")];
  return [colour(document.body, "backgroundColor"), ...texts.map((element) => colour(element, "color"))];
})()`;

/** The relative luminance of a colour, as WCAG 2 defines it. */
function luminance(colour: readonly number[]): number {
  const [red, green, blue] = colour.map((part) => {
    const share = part / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

/** The contrast ratio of two colours, as WCAG 2 defines it. */
function contrast(a: readonly number[], b: readonly number[]): number {
  const [darker, lighter] = [luminance(a), luminance(b)].toSorted((x, y) => x - y);
  return (lighter + 0.05) / (darker + 0.05);
}
