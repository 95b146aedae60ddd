/**
 * The files that the pages load: the style, the icon, the scripts and the sample layer. `deno task build` writes all of
 * them but the sample layer to `build/pages/files.json`, which a host reads and the Worker of an edge imports.
 */

import { sampleLayer } from "./sample_layer.ts";

/** The built files of the pages. */
export interface PageFiles {
  /** A hash of all files. The URLs of the files contain it, so browsers may keep a file for a year. */
  readonly hash: string;
  /** The text of each file by its name. */
  readonly texts: Readonly<Record<string, string>>;
}

/** The folder of the files in URLs. */
const FOLDER = "/assets/";

/** The path of the sample layer, which is a body for `POST /v1/layers`. */
export const SAMPLE_PATH = `${FOLDER}sample.safetensors`;

const MEDIA_TYPES: Readonly<Record<string, string>> = {
  css: "text/css; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  svg: "image/svg+xml",
};

/** Seconds for which a browser may use a file whose URL has the hash of the build: a year. */
const FILE_SECONDS = 31_536_000;

/** Returns the URL of a file. The query names the build, so that the URL changes whenever a file does. */
export function filePath({ hash }: PageFiles, name: string): string {
  return `${FOLDER}${name}?v=${hash}`;
}

/** Returns the answer to a request for one of the files, or undefined if there is no such file. */
export function answerFile(request: Request, files: PageFiles | undefined): Response | undefined {
  const url = new URL(request.url);
  if (url.pathname === SAMPLE_PATH) {
    const headers = {
      "Content-Type": "application/vnd.safetensors",
      "Cache-Control": "public, max-age=3600",
    };
    return new Response(sampleLayer(), { headers });
  }
  const name = url.pathname.slice(FOLDER.length);
  if (files === undefined || !url.pathname.startsWith(FOLDER) || !Object.hasOwn(files.texts, name)) return;
  const isVersioned = url.searchParams.get("v") === files.hash, etag = `W/"${files.hash}"`;
  const headers = {
    "Content-Type": MEDIA_TYPES[name.slice(name.lastIndexOf(".") + 1)] ?? "text/plain; charset=utf-8",
    "Cache-Control": isVersioned ? `public, max-age=${FILE_SECONDS}, immutable` : "public, no-cache",
    ETag: etag,
  };
  if (request.headers.get("If-None-Match") === etag) return new Response(null, { status: 304, headers });
  return new Response(files.texts[name], { headers });
}
