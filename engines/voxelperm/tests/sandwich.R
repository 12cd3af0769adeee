# Makes sandwich.tsv (R 4.2.2, sandwich 3.0-2; Debian: r-cran-sandwich): Rscript sandwich.R
library(sandwich)
data <- read.delim("sandwich_data.tsv")
fit <- lm(change ~ arm + age + site, data = data)
t <- sapply(c("HC2", "HC3"), function(type) coef(fit)["arm"] / sqrt(vcovHC(fit, type)["arm", "arm"]))
writeLines(c("standard_error\tt", sprintf("%s\t%.15g", c("HC2", "HC3"), t)), "sandwich.tsv")
