package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/term"
)

// logOptions are --log-level and --log-format.
type logOptions struct{ level, format string }

func (o *logOptions) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.level, "log-level", "info", "the least that is logged: debug, info, warn or error")
	cmd.Flags().StringVar(&o.format, "log-format", "auto", "text, json, or auto: text on a terminal, JSON otherwise")
	complete := func(words ...string) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
	}
	// These can only fail for flags that do not exist.
	_ = cmd.RegisterFlagCompletionFunc("log-level", complete("debug", "info", "warn", "error"))
	_ = cmd.RegisterFlagCompletionFunc("log-format", complete("auto", "text", "json"))
}

// newLogger makes the operator's log. Events for auditors do not pass here.
func (o logOptions) newLogger(out *os.File) (*zap.Logger, error) {
	var level zapcore.Level
	switch o.level {
	case "debug":
		level = zapcore.DebugLevel
	case "info":
		level = zapcore.InfoLevel
	case "warn":
		level = zapcore.WarnLevel
	case "error":
		level = zapcore.ErrorLevel
	default:
		return nil, usage("--log-level %q: one of debug, info, warn, error", o.level)
	}
	text := false
	switch o.format {
	case "auto":
		text = term.IsTerminal(int(out.Fd()))
	case "text":
		text = true
	case "json":
	default:
		return nil, usage("--log-format %q: one of auto, text, json", o.format)
	}
	core := zapcore.NewCore(encoder(text), zapcore.Lock(out), level)
	return zap.New(core, zap.ErrorOutput(zapcore.Lock(out))), nil
}

func encoder(text bool) zapcore.Encoder {
	c := zap.NewProductionEncoderConfig()
	c.TimeKey, c.MessageKey, c.StacktraceKey = "time", "msg", ""
	c.EncodeTime = func(t time.Time, enc zapcore.PrimitiveArrayEncoder) {
		enc.AppendString(t.UTC().Format("2006-01-02T15:04:05.000000Z"))
	}
	c.EncodeDuration = zapcore.StringDurationEncoder
	if !text {
		return zapcore.NewJSONEncoder(c)
	}
	c.EncodeLevel = func(l zapcore.Level, enc zapcore.PrimitiveArrayEncoder) {
		enc.AppendString(fmt.Sprintf("%-5s", l.CapitalString()))
	}
	c.ConsoleSeparator = "  "
	return zapcore.NewConsoleEncoder(c)
}
