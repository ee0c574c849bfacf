"""The commands that documents, scripts and workflows show, and whether the program would take them."""

import shlex

import typer.main

from earbench.cli import app


def bench_commands(script):
    """The words behind every `bench` in a shell script, comments and what they are joined to left out."""
    found = []
    for line in script.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words = list(lexer)
        for number, word in enumerate(words):
            before = words[number - 1] if number else "do"
            if word == "bench" and (before in ("do", "then", "else") or not before.isalnum()):
                rest = words[number + 1 :]
                ends = (index for index, one in enumerate(rest) if one and set(one) <= set("();<>|&"))
                found.append(rest[: next(ends, len(rest))])
    return found


def command_of(words):
    """The command (or group of commands) that words name, and the words left for it; an error if there is none."""
    command, rest = typer.main.get_command(app), list(words)
    while rest and hasattr(command, "commands"):
        command = command.commands[rest.pop(0)]
    return command, rest


def options_of(words):
    """The options that the command of these words knows."""
    command, _ = command_of(words)
    return {spelled for parameter in command.params for spelled in parameter.opts} | {"--help"}


def parse(words):
    """Take the words apart as the program does, without doing anything; an error says what it would not take."""
    command, rest = command_of(words)
    command.make_context("bench", rest)
