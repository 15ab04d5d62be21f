# Completion of hoshikage for bash: source <(hoshikage completion bash)
_hoshikage() {
    local typed=${COMP_LINE:0:COMP_POINT} word _ cut
    local -a words
    read -ra words <<< "$typed"
    [[ $typed == *[[:space:]] ]] && words+=("")
    # bash takes words apart at : and =, and wants only what follows its last cut.
    cut=${words[-1]}
    cut=${cut%"${COMP_WORDS[COMP_CWORD]}"}
    [[ ${COMP_WORDS[COMP_CWORD]} == [:=] ]] && cut=${words[-1]}
    COMPREPLY=()
    while IFS=$'\t' read -r word _; do
        if [[ $word == : ]]; then
            compopt -o filenames
            while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen -f -- "${words[-1]#"$cut"}")
        else
            COMPREPLY+=("$(printf %q "${word#"$cut"}")")
        fi
    done < <(hoshikage completion words -- "${words[@]:1}" 2> /dev/null)
}
complete -F _hoshikage hoshikage
