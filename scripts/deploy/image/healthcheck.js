// The health check of the image. It exits with 0 if the host on port 8000 answers, and with 1 otherwise.
const response = await fetch("http://127.0.0.1:8000/healthz").catch(() => undefined);
Deno.exit(response?.ok ? 0 : 1);
