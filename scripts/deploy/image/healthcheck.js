// The health check of the image. It exits with 0 if the host on its port answers, and with 1 otherwise.
const response = await fetch(`http://127.0.0.1:${Deno.env.get("PORT") ?? 8000}/healthz`).catch(() =>
  undefined
);
Deno.exit(response?.ok ? 0 : 1);
