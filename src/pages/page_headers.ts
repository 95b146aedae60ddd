/** The security headers of the pages, and of every other answer. */

/** The headers of every answer. They matter if a browser shows a problem or a blob. */
const EVERY_ANSWER: Readonly<Record<string, string>> = {
  "X-Content-Type-Options": "nosniff",
  "Referrer-Policy": "no-referrer",
  "X-Frame-Options": "DENY",
  "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
};

/** Adds the security headers that an answer does not have yet. */
export function addSecurityHeaders(headers: Headers): void {
  for (const [name, value] of Object.entries(EVERY_ANSWER)) {
    if (!headers.has(name)) headers.set(name, value);
  }
}

/**
 * Returns the headers of a page. Its policy allows only files of its own server. Scripts and styles within the HTML are
 * forbidden, and so are scripts that parse text as HTML.
 * @param connect further origins to which the scripts may send requests, such as the origin of a bucket for uploads
 */
export function pageHeaders(connect: readonly string[] = []): Record<string, string> {
  return headersOf({
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": ["'self'", ...connect].join(" "),
    "require-trusted-types-for": "'script'",
    "trusted-types": "'none'",
  });
}

/**
 * Returns the headers of the page `/docs`. Scalar, which shows the contract there, inserts its styles as elements and
 * attributes, and parses text as HTML, so the policy must allow both. It does not allow Scalar to evaluate text as
 * code, which Scalar can do without.
 */
export function docsHeaders(): Record<string, string> {
  return headersOf({
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data:",
    "font-src": "'self' data:",
    "connect-src": "'self'",
  });
}

function headersOf(policy: Readonly<Record<string, string>>): Record<string, string> {
  const directives = {
    "default-src": "'none'",
    "script-src": "'self'",
    ...policy,
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
  };
  return {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-cache",
    "Content-Security-Policy": Object.entries(directives).map((directive) => directive.join(" ")).join("; "),
  };
}
