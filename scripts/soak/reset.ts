/** Resets TCP connections (RST, as with SO_LINGER 0), which `Deno.TcpConn` cannot do. */

import { connect } from "node:net";

/** When a connection is reset: before a byte is sent, in the middle of the body, or in the middle of the answer. */
export type ResetMoment = "connecting" | "sending" | "reading";

interface ResetRequest {
  readonly path: string;
  readonly body: Uint8Array<ArrayBuffer>;
  /** The length of the answer in bytes, if it has status 200. */
  readonly answerBytes: number;
}

/**
 * Opens a connection, sends the request until `moment`, and resets the connection. An answer with another status than 200 ends the wait for
 * the moment, because the host may be busy.
 * @param fraction the part of the body or of the answer that is transferred before the reset, from 0 to 1
 * @throws {Error} if the host does not accept the connection, or ends it first
 */
export function resetConnection(
  origin: string,
  moment: ResetMoment,
  { path, body, answerBytes }: ResetRequest,
  fraction: number,
): Promise<void> {
  const { hostname, port } = new URL(origin);
  const head = `POST ${path} HTTP/1.1\r\nHost: ${hostname}:${port}\r\n` +
    `Content-Type: application/vnd.safetensors\r\nContent-Length: ${body.byteLength}\r\n\r\n`;
  return new Promise((resolve, reject) => {
    const socket = connect({ host: hostname, port: Number(port) });
    const reset = () => {
      resolve();
      socket.resetAndDestroy();
    };
    let status = "", read = 0;
    socket.on("error", reject);
    socket.on("end", () => reject(new Error(`${path}: the host ended the connection`)));
    socket.on("data", (bytes) => {
      status ||= bytes.subarray(9, 12).toString();
      read += bytes.byteLength;
      if (status !== "200" || read >= fraction * answerBytes) reset();
    });
    socket.on("connect", () => {
      if (moment === "connecting") return reset();
      socket.write(head);
      if (moment === "reading") socket.write(body);
      else socket.write(body.subarray(0, Math.floor(fraction * (body.byteLength - 1))), reset);
    });
  });
}
