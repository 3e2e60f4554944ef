// Shows whether the service is ready, and lets the examples be copied. Without it there is a link that says the former.
const WAIT_MS = 10_000; // twice as long as the service waits for a database that does not answer

const { copy, copied } = document.querySelector("#examples").dataset;
// A page that came over http from another machine may not write to the clipboard.
if (navigator.clipboard) document.querySelectorAll(".example").forEach(addButton);

const state = document.querySelector("#state");
state.dataset.is = await ask(state.querySelector("a").href);
state.textContent = state.dataset[state.dataset.is];

async function ask(address) {
  try {
    const answer = await fetch(address, { signal: AbortSignal.timeout(WAIT_MS) });
    const { database, queues, messages } = await answer.json();
    if (database !== "ok") return "database";
    if (queues !== "ok") return "shared";
    return messages === "ok" ? "ok" : "late";
  } catch {
    return "away";
  }
}

function addButton(example) {
  const button = document.createElement("button");
  button.textContent = copy;
  button.setAttribute("aria-label", `${copy}: ${example.querySelector("h3").textContent}`);
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(example.querySelector("pre").textContent);
    button.textContent = copied;
  });
  example.querySelector("h3").after(button);
}
