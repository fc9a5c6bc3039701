package loop

const evfiltUser = -11
