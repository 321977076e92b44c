def draw(t): return ""
