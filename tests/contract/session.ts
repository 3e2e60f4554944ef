// A session with openapi-fetch, typed by what openapi-typescript makes: `node session.js ADDRESS PASSWORD`.
import createClient from "openapi-fetch";
import type { components, paths } from "./vazifa.js";

declare const process: { argv: string[] };

type Schemas = components["schemas"];
type Answer<Data, Problem> = { data?: Data; error?: Problem; response: Response };

const [address = "", password = ""] = process.argv.slice(2);
const stranger = createClient<paths>({ baseUrl: address });

function check(condition: unknown, what: unknown = condition): asserts condition {
  if (!condition) throw new Error(`not as described: ${JSON.stringify(what)}`);
}

/** Return the data of a response, which has to have this status. */
function data<Data>(answer: Answer<Data, unknown>, status = 200): Data {
  check(answer.response.status === status && answer.data !== undefined, [answer.response.status, answer.error]);
  return answer.data;
}

/** Return the error of a response, which has to have this status, a text for people, and a type that has one. */
function problem(answer: Answer<unknown, unknown>, status: number): Schemas["Error"] {
  check(answer.response.status === status, [answer.response.status, answer.error]);
  const error = answer.error as Schemas["Error"];
  check(error.detail, error);
  return error;
}

/** Return the messages about fields. */
function faults<Problem>(answer: Answer<unknown, Problem>): Exclude<Problem, Schemas["Error"] | string> {
  check(answer.response.status === 400, [answer.response.status, answer.error]);
  return answer.error as Exclude<Problem, Schemas["Error"] | string>;
}

const signIn = (username: string, word: string = password) =>
  stranger.POST("/api/token/", { body: { username, password: word } });
const cursorOf = (link: string | null): string => {
  check(link);
  return new URL(link).searchParams.get("cursor") ?? "";
};

// Tokens.
const pair = data(await signIn("user"));
check("username" in faults(await signIn("")));
problem(await signIn("nowhere", "wrong"), 401);
await signIn("nowhere", "wrong");
await signIn("nowhere", "wrong");
const refused = await signIn("nowhere", "wrong");
check(problem(refused, 429).code === "too_many_attempts");
check(Number(refused.response.headers.get("Retry-After")) > 0);
const fresh = data(await stranger.POST("/api/token/refresh/", { body: { refresh: pair.refresh } }));
data(await stranger.POST("/api/token/verify/", { body: { token: fresh.access } }));
const forged = await stranger.POST("/api/token/verify/", { body: { token: "forged" } });
check(problem(forged, 401).code === "token_not_valid");
const unknown = await stranger.GET("/tasks/");
problem(unknown, 401);
check(unknown.response.headers.get("WWW-Authenticate")?.startsWith("Bearer"));
const user = createClient<paths>({ baseUrl: address, headers: { Authorization: `Bearer ${fresh.access}` } });

// Create, once.
const create = (body: Schemas["TaskRequest"], key?: string) =>
  user.POST("/tasks/", { body, params: { header: key ? { "Idempotency-Key": key } : {} } });
const first = await create({ title: "Maqola yozish", description: "TypeScript" }, "typescript-1");
const again = await create({ title: "Maqola yozish", description: "TypeScript" }, "typescript-1");
const task: Schemas["Task"] = data(first, 201);
check(data(again, 201).id === task.id);
check(first.response.headers.get("Idempotency-Replayed") === null);
check(again.response.headers.get("Idempotency-Replayed") === "true");
problem(await create({ title: "Boshqa" }, "typescript-1"), 422);
const untitled = faults(await create({ title: " " }));
check(untitled["title"]?.[0], untitled);
problem(await create({ title: "Uzun", description: "a".repeat(2 ** 20) }), 413);

// Read, change and delete, under conditions.
const one = (header: { "If-Match"?: string; "If-None-Match"?: string } = {}, id = task.id) =>
  ({ params: { path: { id }, header } }) as const;
const read = await user.GET("/tasks/{id}/", one());
const etag = read.response.headers.get("ETag") ?? "";
check(data(read).version === 1 && etag === first.response.headers.get("ETag"));
check((await user.GET("/tasks/{id}/", one({ "If-None-Match": etag }))).response.status === 304);
const body = { completed: true };
const changed = await user.PATCH("/tasks/{id}/", { ...one({ "If-Match": etag }), body });
check(data(changed).completed);
problem(await user.PATCH("/tasks/{id}/", { ...one({ "If-Match": etag }), body }), 412);
problem(await user.PATCH("/tasks/{id}/", { ...one(), body }), 428);
const present = changed.response.headers.get("ETag") ?? "";
const replaced = await user.PUT("/tasks/{id}/", { ...one({ "If-Match": present }), body: { title: "Maqola yozdim" } });
check(data(replaced).version === 3);
const foreign = data(await user.GET("/tasks/")).results.find((each) => each.owner === "admin");
check(foreign);
problem(await user.DELETE("/tasks/{id}/", one({ "If-Match": "*" }, foreign.id)), 403);
problem(await user.GET("/tasks/{id}/", one({}, 2 ** 52)), 404);

// Many at a time.
const many = Array.from({ length: 12 }, (_, number) => ({ title: `Reja ${number}` }));
const created = data(await user.POST("/tasks/bulk/", { body: many }), 201);
check(created.map((each) => each.title).join() === many.map((each) => each.title).join());
const wrong = faults(await user.POST("/tasks/bulk/", { body: [{ title: "Bir" }, { title: "" }] }));
check(Object.keys(wrong).join() === "1" && typeof wrong["1"] === "object" && "title" in wrong["1"]);
const both = created.slice(0, 2).map(({ id }) => ({ id, completed: true, if_match: "*" }));
const changes = data(await user.PATCH("/tasks/bulk/", { body: both }));
check(changes.every((each) => each.completed && each.version === 2) && changes.length === 2);
const stale = both.map((each) => ({ ...each, if_match: '"1-0123456789abcdef"' }));
const unmet = await user.PATCH("/tasks/bulk/", { body: stale });
check(unmet.response.status === 412 && Object.keys(unmet.error as Schemas["ErrorsOfMany"]).join() === "0,1");
const named = both.map(({ id }) => ({ id, if_match: "*" }));
check((await user.DELETE("/tasks/bulk/", { body: named })).response.status === 204);
const missing = await user.DELETE("/tasks/bulk/", { body: named });
check(missing.response.status === 404 && Object.keys(missing.error as Schemas["ErrorsOfMany"]).join() === "0,1");

// Lists: pages by number and by cursor, filters, search, order.
const list = (query: NonNullable<paths["/tasks/"]["get"]["parameters"]["query"]>) =>
  user.GET("/tasks/", { params: { query } });
const numbered = data(await list({ page: 2, page_size: 7 }));
check(numbered.results.length === 7 && numbered.count !== undefined);
problem(await list({ page: 99 }), 404);
const seen: number[] = [];
let page = data(await list({ pagination: "cursor", page_size: 10 }));
seen.push(...page.results.map((each) => each.id));
while (page.next !== null) {
  page = data(await list({ pagination: "cursor", page_size: 10, cursor: cursorOf(page.next) }));
  seen.push(...page.results.map((each) => each.id));
}
check(seen.length === numbered.count && new Set(seen).size === seen.length);
const ids = (tasks: Schemas["PaginatedTaskList"]) => tasks.results.map((each) => each.id);
check(ids(data(await list({ owner: task.owner_id, completed: true, search: "yozdim" }))).join() === `${task.id}`);
check(ids(data(await list({ owner_username: "nobody" }))).length === 0);
check(ids(data(await list({ ordering: "-created_at" })))[0] === Math.max(...seen));
check("ordering" in faults(await list({ ordering: "color" })));

// Files.
const file = (format: "csv" | "jsonl") =>
  user.GET("/tasks/export/", { params: { query: { format, search: "Reja" } }, parseAs: "text" });
const lines = data(await file("jsonl")).trim().split("\n");
check(lines.map((line) => (JSON.parse(line) as Schemas["Task"]).title).join() === created.slice(2).map((each) => each.title).join());
check(data(await file("csv")).startsWith("id,title,"));

// Events: of the log, of a task, as they come.
const log = data(await user.GET("/activity/", { params: { query: { page_size: 5 } } }));
check(log.results.length === 5 && log.results.every((each) => each.status === "logged" && each.state === null));
const older = { page_size: 5, cursor: cursorOf(log.next) };
check(data(await user.GET("/activity/", { params: { query: older } })).results[0]!.id! < log.results[4]!.id!);
const deletions = await user.GET("/activity/", { params: { query: { event: "task.deleted" } } });
check(data(deletions).results.length === 0);
const events = (task_id: number) => user.GET("/tasks/{task_id}/activity/", { params: { path: { task_id } } });
const history = data(await events(task.id)).results;
check(history.map((each) => each.version).join() === "3,2,1");
check(JSON.stringify(history[1]!.changes["completed"]) === "[false,true]");
problem(await events(2 ** 52), 404);
const stream = await user.GET("/activity/stream/", { params: { header: { "Last-Event-ID": 1 } }, parseAs: "stream" });
const reader = data(stream)!.getReader();
let text = "";
while (!/^data: .*\n/m.test(text)) text += new TextDecoder().decode((await reader.read()).value);
check((JSON.parse(/^data: (.*)\n/m.exec(text)![1]!) as Schemas["Activity"]).id === 2);
await reader.cancel();

// What the types forbid is answered in their shape.
// @ts-expect-error There is no such method.
problem(await user.PUT("/tasks/", { body: {} }), 405);
problem(await user.GET("/tasks/", { headers: { Accept: "text/plain" } }), 406);
const asText = { headers: { "Content-Type": "text/plain" }, bodySerializer: () => "title" };
problem(await user.POST("/tasks/", { body: { title: "" }, ...asText }), 415);

// The end.
const last = { "If-Match": replaced.response.headers.get("ETag") ?? "" };
check((await user.DELETE("/tasks/{id}/", one(last))).response.status === 204);
data(await stranger.POST("/api/token/logout/", { body: { token: fresh.access } }));
problem(await user.GET("/tasks/"), 401);
const token = data(await signIn("user")).access;
data(await stranger.POST("/api/token/logout-everywhere/", { body: { token } }));
check(data(await stranger.GET("/health/live/")).status === "ok");
check(data(await stranger.GET("/health/ready/")).database === "ok");
console.log("All as described.");
