import { testAgreement } from "../../support/dawn_agreement.ts";

testAgreement("software");
