/**
 * Wraps `fetch` for the hub's API. The hub is not trusted: its listing may be endless, and it chooses the URL of the
 * next page, which may belong to another server.
 */

import { ModelError } from "../files/model_error.ts";

/** The address of the public hub. */
const PUBLIC_HUB = "https://huggingface.co";

/** The largest accepted answer in JSON. A page of the listing has up to 1000 files and takes about 300 kB. */
const MAX_ANSWER_BYTES = 16 << 20;

/** Returns `fetch` without the access token in requests to other servers than the hub. The server of a download needs no token. */
export function withoutForeignToken(
  send: typeof fetch,
  hubUrl: string | undefined,
  accessToken: string | undefined,
): typeof fetch {
  const { origin } = new URL(hubUrl ?? PUBLIC_HUB);
  return (input, init) => {
    const url = new URL(input instanceof Request ? input.url : input);
    const headers = new Headers(init?.headers);
    if (url.origin === origin || headers.get("Authorization") !== `Bearer ${accessToken}`) {
      return send(input, init);
    }
    headers.delete("Authorization");
    return send(input, { ...init, headers });
  };
}

/**
 * Returns `fetch` for a listing of at most `maxPages` pages.
 * @throws {ModelError} (the returned function) if the listing has more pages, or if a page is longer than 16 MiB
 */
export function limitedToPages(send: typeof fetch, maxPages: number): typeof fetch {
  let pages = 0;
  return async (input, init) => {
    if (++pages > maxPages) throw new ModelError(`the hub lists more than ${maxPages} pages of files`);
    const response = await send(input, init);
    return response.body ? new Response(response.body.pipeThrough(byteLimit()), response) : response;
  };
}

/** Returns a stream that fails when more than {@link MAX_ANSWER_BYTES} have passed. */
function byteLimit(): TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>> {
  let bytes = 0;
  return new TransformStream({
    transform(chunk, controller) {
      bytes += chunk.byteLength;
      if (bytes > MAX_ANSWER_BYTES) {
        controller.error(new ModelError(`an answer of the hub has more than ${MAX_ANSWER_BYTES} bytes`));
      } else controller.enqueue(chunk);
    },
  });
}
