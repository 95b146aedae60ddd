/**
 * Wraps `fetch` for the hub's API. The hub is not trusted: its listing may be endless, and it chooses the URL of the
 * next page, which may belong to another server.
 */

import type * as z from "zod/mini";
import { ModelError } from "../../base/files/file_error.ts";
import { tryParseJson } from "../../base/json.ts";

const PUBLIC_HUB = "https://huggingface.co";

/** The largest accepted answer in JSON. A page of the listing has up to 1000 files and takes about 300 kB. */
const MAX_ANSWER_BYTES = 16 << 20;

/** Returns a `fetch` that removes the access token from requests to other servers, such as servers of downloads. */
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

/** The form of an answer of the hub's API. */
export interface AnswerForm {
  readonly schema: z.ZodMiniType<unknown>;
  /** The largest number of pages of the answer. */
  readonly maxPages: number;
  /** A name of the answer for errors, such as "a list of files". */
  readonly name: string;
}

/**
 * Returns a `fetch` that checks the answers of the hub's API.
 * @throws {ModelError} (the returned function) if there are more pages than `maxPages`, if a page is longer than 16
 * MiB, or if it does not match the schema
 */
export function checkedFetch(send: typeof fetch, { schema, maxPages, name }: AnswerForm): typeof fetch {
  let pages = 0;
  return async (input, init) => {
    if (++pages > maxPages) throw new ModelError(`the hub lists more than ${maxPages} pages of files`);
    const response = await send(input, init);
    const limited = new Response(response.body?.pipeThrough(byteLimit()), response);
    if (!response.ok) return limited;
    const text = await limited.text();
    if (!schema.safeParse(tryParseJson(text)).success) {
      throw new ModelError(`the answer of the hub is not ${name}`);
    }
    return new Response(text, { headers: response.headers });
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
