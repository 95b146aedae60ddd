/**
 * Sends one request over a connection of its own. `fetch` cannot send or read slowly, or disconnect after a
 * certain number of bytes, so this file writes HTTP/1.1 itself.
 */

/** How a client sends its request and reads the answer. */
export interface Behaviour {
  /** The most bytes that are sent or read before a pause. @default no limit */
  readonly pieceBytes?: number;
  /** The pause after each piece, in milliseconds. @default 0 */
  readonly pauseMilliseconds?: number;
  /** Disconnect after this many bytes of the body were sent, unless the host has answered by then. */
  readonly leaveAfterSent?: number;
  /** The time without sending before the client disconnects, in milliseconds. @default 0 */
  readonly silenceMilliseconds?: number;
  /** Disconnect after this many bytes of the answer were read. */
  readonly leaveAfterRead?: number;
}

export interface Answer {
  /** The status. 0 if the client disconnected before the end of the answer. */
  readonly status: number;
  readonly headers: Headers;
  readonly body: Uint8Array<ArrayBuffer>;
}

/** The most bytes of one read. */
const READ_BYTES = 65_536;

const LEFT: Answer = { status: 0, headers: new Headers(), body: new Uint8Array() };

export interface ExchangeRequest {
  /** @default POST */
  readonly method?: "GET" | "POST";
  readonly path: string;
  readonly body?: Uint8Array<ArrayBuffer>;
}

/**
 * Sends a request and reads the answer, unless `behaviour` disconnects before its end.
 * @throws {Error} if the connection breaks, or the answer is shorter than its Content-Length
 */
export async function exchange(
  origin: string,
  { method = "POST", path, body = new Uint8Array() }: ExchangeRequest,
  behaviour: Behaviour = {},
): Promise<Answer> {
  const { hostname, port } = new URL(origin);
  using connection = await Deno.connect({ hostname, port: Number(port) });
  const head = `${method} ${path} HTTP/1.1\r\nHost: ${hostname}:${port}\r\nConnection: close\r\n` +
    `Content-Type: application/vnd.safetensors\r\nContent-Length: ${body.byteLength}\r\n\r\n`;
  // The host may answer, and close the connection, before it has read the whole body. An error of sending is
  // therefore only reported if there is no answer.
  let sendError: unknown;
  const left = Promise.withResolvers<void>();
  send(connection, new TextEncoder().encode(head), body, behaviour)
    .then((isWhole) => isWhole || left.resolve(), (error) => void (sendError = error));
  const answer = await Promise.race([
    read(connection, behaviour).catch((cause) => {
      throw new Error(`${path}: the connection broke`, { cause: sendError ?? cause });
    }),
    left.promise.then(() => LEFT),
  ]);
  // A write or read that is still pending ends when the connection is closed.
  return answer;
}

/** Sends the request. Returns false if the client is to disconnect in the middle of the body. */
async function send(
  connection: Deno.TcpConn,
  head: Uint8Array,
  body: Uint8Array,
  { pieceBytes = Infinity, pauseMilliseconds = 0, leaveAfterSent = Infinity, silenceMilliseconds = 0 }:
    Behaviour,
): Promise<boolean> {
  await writeAll(connection, head);
  const end = Math.min(body.byteLength, leaveAfterSent);
  for (let offset = 0; offset < end;) {
    const next = Math.min(end, offset + pieceBytes);
    await writeAll(connection, body.subarray(offset, next));
    offset = next;
    if (pauseMilliseconds > 0 && offset < end) await pause(pauseMilliseconds);
  }
  if (end === body.byteLength) return true;
  await pause(silenceMilliseconds);
  return false;
}

async function writeAll(connection: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
  for (let offset = 0; offset < bytes.byteLength;) offset += await connection.write(bytes.subarray(offset));
}

async function read(
  connection: Deno.TcpConn,
  { pieceBytes = READ_BYTES, pauseMilliseconds = 0, leaveAfterRead = Infinity }: Behaviour,
): Promise<Answer> {
  const piece = new Uint8Array(Math.min(READ_BYTES, pieceBytes));
  let head = "", body: Uint8Array<ArrayBuffer> | undefined, status = 0, length = 0, total = 0;
  let headers = new Headers();
  for (let count; (count = await connection.read(piece)) !== null;) {
    total += count;
    let bytes = piece.subarray(0, count);
    if (!body) {
      head += String.fromCharCode(...bytes);
      const end = head.indexOf("\r\n\r\n");
      if (end < 0) continue;
      ({ status, headers } = parseHead(head.slice(0, end)));
      body = new Uint8Array(Number(headers.get("Content-Length") ?? 0));
      bytes = Uint8Array.from(head.slice(end + 4), (character) => character.charCodeAt(0));
    }
    body.set(bytes, length);
    length += bytes.byteLength;
    if (total >= leaveAfterRead) return LEFT;
    if (length === body.byteLength) return { status, headers, body };
    if (pauseMilliseconds > 0) await pause(pauseMilliseconds);
  }
  const expected = body ? `${body.byteLength} bytes` : "headers";
  throw new Error(`the answer ended after ${length} of its ${expected}`);
}

function parseHead(head: string): { status: number; headers: Headers } {
  const [first, ...lines] = head.split("\r\n"), headers = new Headers();
  for (const line of lines) {
    const colon = line.indexOf(":");
    headers.append(line.slice(0, colon), line.slice(colon + 1).trim());
  }
  return { status: Number(first.split(" ")[1]), headers };
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
