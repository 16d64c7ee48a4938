import { type Command, InvalidArgumentError } from "commander";
import { ArrwClient } from "../../client/index.ts";
import { type Candidate, candidates, type DynamicValues } from "../completion.ts";
import { clientOptions, DEFAULT_ADDRESS } from "../connection-options.ts";
import { plain } from "../format.ts";
import { statusText } from "../job-text.ts";
import { print } from "../terminal.ts";

const COMPLETE = "__complete";
const TIMEOUT_MS = 1_000;
const MOST = 50;

export function register(program: Command): void {
  program
    .command("completion")
    .argument("<shell>", "bash, zsh or fish", shell)
    .description("a script that makes Tab complete commands, options, libraries and jobs")
    .addHelpText("after", HELP)
    .action((name: Shell) => print(SCRIPTS[name]));
  program
    .command(COMPLETE, { hidden: true })
    .argument("[words...]")
    .allowUnknownOption()
    .action((words: string[]) => complete(program, words));
}

type Shell = "bash" | "zsh" | "fish";

const HELP = `
  bash   echo 'source <(arrw completion bash)' >> ~/.bashrc
  zsh    echo 'source <(arrw completion zsh)' >> ~/.zshrc
  fish   arrw completion fish > ~/.config/fish/completions/arrw.fish`;

function shell(text: string): Shell {
  if (text === "bash" || text === "zsh" || text === "fish") return text;
  throw new InvalidArgumentError("expected bash, zsh or fish");
}

/** Candidates, one a line with what they are; without a word when something goes wrong. */
async function complete(program: Command, words: readonly string[]): Promise<void> {
  const at = words.indexOf("--address");
  const address = (at >= 0 ? words[at + 1] : undefined) || process.env.ARRW_ADDRESS || DEFAULT_ADDRESS;
  const found = await candidates(program, words, new Gateway(address)).catch(() => []);
  print(...found.map(({ value, description }) => `${value}\t${plain(description)}`));
}

class Gateway implements DynamicValues {
  readonly #address: string;

  constructor(address: string) {
    this.#address = address;
  }

  async of(kind: "library" | "job" | "worker"): Promise<Candidate[]> {
    const client = new ArrwClient({ ...clientOptions({ address: this.#address }), timeoutMs: TIMEOUT_MS });
    try {
      await client.connect();
      return await asked(client, kind);
    } finally {
      client.close();
    }
  }
}

async function asked(client: ArrwClient, kind: "library" | "job" | "worker"): Promise<Candidate[]> {
  if (kind === "library") {
    const { libraries } = await client.listLibraries({ pageSize: 1_000 });
    return libraries.map(({ name, libraryId }) => ({ value: name, description: libraryId }));
  }
  if (kind === "worker") {
    return (await client.queues.workers()).map(({ workerId, host }) => ({
      value: workerId,
      description: host,
    }));
  }
  const { jobs } = await client.list({ pageSize: MOST });
  return jobs.map((job) => ({ value: job.jobId, description: `${job.type} ${statusText(job)}` }));
}

const BASH = `_arrw() {
  local IFS=$'\\n'
  COMPREPLY=($(arrw ${COMPLETE} -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null | cut -f1))
}
complete -o default -F _arrw arrw`;

const ZSH = `#compdef arrw
_arrw() {
  local -a lines described
  local line
  lines=("\${(@f)$(arrw ${COMPLETE} -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  for line in $lines; do
    [[ -n $line ]] && described+=("\${\${line%%$'\\t'*}//:/\\\\:}:\${line#*$'\\t'}")
  done
  if (( $#described )); then _describe 'arrw' described; else _files; fi
}
if [ "$funcstack[1]" = "_arrw" ]; then _arrw "$@"; else compdef _arrw arrw; fi`;

const FISH = `function __arrw_complete
  set -l words (commandline -opc)
  set -l current (commandline -ct)
  set -l found (arrw ${COMPLETE} -- $words[2..-1] "$current" 2>/dev/null)
  if test (count $found) -gt 0
    printf '%s\\n' $found
  else
    __fish_complete_path "$current"
  end
end
complete -c arrw -f -a '(__arrw_complete)'`;

const SCRIPTS: Readonly<Record<Shell, string>> = { bash: BASH, zsh: ZSH, fish: FISH };
