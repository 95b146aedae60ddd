/** The script of the page `/docs`. It starts Scalar, or says that Scalar's own script could not be loaded. */

import { byId } from "./dom.ts";

/** The part of Scalar that the page uses. */
interface Scalar {
  createApiReference(selector: string, options: Readonly<Record<string, unknown>>): void;
}

const { Scalar: scalar } = globalThis as { Scalar?: Scalar };

if (scalar) {
  // All options that would load something from another server, or send something to one, are off. The colours and the
  // fonts come from the style of the page.
  scalar.createApiReference("#contract", {
    url: "/openapi.json",
    theme: "none",
    withDefaultFonts: false,
    hideDarkModeToggle: true,
    telemetry: false,
    agent: { disabled: true },
    mcp: { disabled: true },
    showDeveloperTools: "never",
    hideClientButton: true,
    persistAuth: false,
    authentication: { preferredSecurityScheme: "key" },
  });
} else byId("no-contract", HTMLElement).hidden = false;
