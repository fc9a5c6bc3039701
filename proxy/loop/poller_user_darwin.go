package loop

const evfiltUser = -10
