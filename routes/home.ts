/** `GET /`: the start page, as HTML for browsers and as plain text for curl. */

import { homeHtml, type HomeState, homeText } from "../src/pages/home.ts";
import type { HostApp } from "./host_app.ts";
import type { HostServices } from "../src/host/host_services.ts";

/** Adds the page to the application. */
export function homeRoutes(app: HostApp, { device, version }: HostServices): void {
  app.get("/", (c) => {
    const backend = device.current()?.backend;
    const state: HomeState = {
      version,
      device: backend && { backend: backend.kind, adapter: backend.adapter.name },
    };
    return c.req.header("Accept")?.includes("text/html") ? c.html(homeHtml(state)) : c.text(homeText(state));
  });
}
