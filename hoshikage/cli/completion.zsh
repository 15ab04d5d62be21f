#compdef hoshikage
# Completion of hoshikage for zsh: source <(hoshikage completion zsh), or this file as _hoshikage in a folder of $fpath
_hoshikage() {
    local line
    local -a found
    for line in "${(@f)$(hoshikage completion words -- "${(@Q)words[2,CURRENT]}" 2> /dev/null)}"; do
        if [[ $line == : ]]; then
            compset -P '--*='
            _files
        elif [[ -n $line ]]; then
            found+=("${${line//:/\\:}/$'\t'/:}")
        fi
    done
    (( $#found )) && _describe hoshikage found
}
if [[ ${funcstack[1]} == _hoshikage ]]; then
    _hoshikage "$@"
else
    compdef _hoshikage hoshikage
fi
